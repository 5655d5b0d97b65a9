/** Vectors without what all of them have in common: centred, and whitened by the directions of documents. */
import { EigenvalueDecomposition, Matrix } from 'ml-matrix';
import { embeddingOf } from '../decoder/index.js';

/** Rows of unit length, one after the other. */
export interface Vectors {
  data: Float32Array;
  width: number;
}

/** The mean of the rows. */
function meanOf({ data, width }: Vectors): Float64Array {
  const mean = new Float64Array(width);
  const rows = data.length / width;
  for (let at = 0; at < data.length; at++)
    mean[at % width] = (mean[at % width] as number) + (data[at] as number) / rows;
  return mean;
}

/** The singular value whose share damps the smaller ones, and that share. */
const [DAMPING_AT, DAMPING] = [60, 0.3];
/** Singular values below this share of the largest are none. */
const NOISE = 1e-6;

/** A map of vectors, which are of unit length after it. */
export type VectorMap = (vectors: Vectors) => Vectors;

/** Takes the mean of the documents off. */
export function centring(documents: Vectors): VectorMap {
  const mean = meanOf(documents);
  return ({ data, width }) =>
    normalized(
      data.map((value, at) => value - (mean[at % width] as number)),
      width,
    );
}

/**
 * Takes the mean of the documents off, and divides by their spread in each direction: singular values, to which 0.3 of
 * the 60th is added, because small ones are noise.
 */
export function whitening(documents: Vectors): VectorMap {
  const { width } = documents;
  const mean = meanOf(documents);
  const centred = Float64Array.from(documents.data, (value, at) => value - (mean[at % width] as number));
  const rows = centred.length / width;
  const covariance = new Float64Array(width * width);
  for (let row = 0; row < rows; row++) {
    const at = row * width;
    for (let i = 0; i < width; i++) {
      const x = centred[at + i] as number;
      for (let j = 0; j <= i; j++)
        covariance[i * width + j] = (covariance[i * width + j] as number) + x * (centred[at + j] as number);
    }
  }
  for (let i = 0; i < width; i++)
    for (let j = i + 1; j < width; j++) covariance[i * width + j] = covariance[j * width + i] as number;
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(
    Matrix.from1DArray(width, width, covariance),
    { assumeSymmetric: true },
  );
  const spread = realEigenvalues.map((value) => Math.sqrt(Math.max(0, value)));
  const sorted = [...spread].sort((a, b) => b - a);
  const rank = sorted.filter((value) => value > NOISE * (sorted[0] as number)).length;
  const damping = DAMPING * (sorted[Math.min(DAMPING_AT, rank) - 1] ?? 1);
  const scales = spread.map((value) => 1 / (value + damping));
  return ({ data }) => {
    const mapped = new Float32Array(data.length);
    for (let at = 0; at < data.length; at += width) {
      for (let to = 0; to < width; to++) {
        let sum = 0;
        for (let from = 0; from < width; from++)
          sum += ((data[at + from] as number) - (mean[from] as number)) * eigenvectorMatrix.get(from, to);
        mapped[at + to] = sum * (scales[to] as number);
      }
    }
    return normalized(mapped, width);
  };
}

function normalized(data: Float32Array, width: number): Vectors {
  for (let at = 0; at < data.length; at += width) {
    const row = data.subarray(at, at + width);
    row.set(embeddingOf(row));
  }
  return { data, width };
}
