/**
 * Moves all vectors of a large corpus without touching them: the stored vectors stay in place and their frame moves. A
 * stored vector x stands for x P, where P is the product of the maps so far. The query q P' finds among the stored
 * vectors what q would find among the moved ones, since (q P') x = q (x P). New vectors enter the frame through P's
 * inverse.
 *
 * The moved vectors are not normalised one by one; P is scaled so that the mean length of a sample is 1. After some
 * steps, when the lengths differ too much or P has no inverse, the stored vectors themselves must be moved.
 */
import { f32, floats, Session } from 'onnx-grad';
import { factorised } from './drift/cholesky.js';
import { productProgram } from './drift/programs.js';
import { addProduct, transposed } from './drift/ridge.js';

/** Maximum number of maps in a row: rounding errors add up. */
const MOST_TURNS = 16;
/** Largest standard deviation of the lengths of moved vectors, which is the relative error of scanned scores. */
const MOST_SPREAD = 0.01;

/** Row-major matrices [dimension * dimension]. */
interface Matrices {
  /** P'. */
  turn: Float64Array;
  /** The inverse of P; zeros if it has none. */
  back: Float64Array;
  turns: number;
}

export class Frame {
  readonly dimension: number;
  #matrices: Matrices | undefined;
  /** Products, and products scaled to length 1; compiled on first use, which only large corpora need. */
  #sessions: Promise<{ plain: Session; unit: Session }> | undefined;

  constructor(dimension: number) {
    this.dimension = dimension;
  }

  /** Whether the frame has moved: stored vectors stand for others. */
  get turned(): boolean {
    return this.#matrices !== undefined;
  }

  /**
   * Moves the frame by one more map; `sample` are stored vectors whose mean length stays 1. Returns whether the frame
   * is worn out: then the stored vectors must be moved before anything new is stored.
   */
  async move(map: Float32Array, sample: Float32Array): Promise<boolean> {
    const { dimension } = this;
    const matrix = new Float64Array(map);
    const { turn, back, turns } = this.#matrices ?? identity(dimension);
    const product = () => new Float64Array(matrix.length);
    // (P M)' = M' P'; and M X = P^-1 by its normal equations, M being near the identity.
    const turned = addProduct(product(), matrix, turn, dimension, dimension);
    const gram = addProduct(product(), matrix, matrix, dimension, dimension);
    const right = addProduct(product(), matrix, back, dimension, dimension);
    const brought = factorised(gram, dimension)?.solve(right, dimension);
    const lengths = rowLengths(await this.#times(sample, transposed(turned, dimension), 'plain'), dimension);
    const mean = lengths.reduce((total, x) => total + x, 0) / lengths.length;
    const square = lengths.reduce((total, x) => total + (x / mean - 1) ** 2, 0) / lengths.length;
    this.#matrices = {
      turn: turned.map((x) => x / mean),
      back: brought?.map((x) => x * mean) ?? product(),
      turns: turns + 1,
    };
    return turns + 1 >= MOST_TURNS || Math.sqrt(square) > MOST_SPREAD || brought === undefined;
  }

  /** Queries to search the stored vectors with. */
  async queries(vectors: Float32Array): Promise<Float32Array> {
    return this.#matrices === undefined ? vectors : this.#times(vectors, this.#matrices.turn, 'plain');
  }

  /** What stored vectors stand for, scaled to length 1. */
  async now(vectors: Float32Array): Promise<Float32Array> {
    if (this.#matrices === undefined) return vectors;
    return this.#times(vectors, transposed(this.#matrices.turn, this.dimension), 'unit');
  }

  /** The same for one vector, synchronously. */
  one(vector: Float32Array): Float32Array {
    if (this.#matrices === undefined) return vector.slice();
    const { turn } = this.#matrices;
    const moved = Float64Array.from(vector, (_, j) => {
      const row = turn.subarray(j * this.dimension, (j + 1) * this.dimension);
      return row.reduce((total, own, k) => total + own * (vector[k] as number), 0);
    });
    const length = Math.hypot(...moved);
    return Float32Array.from(moved, (x) => x / length);
  }

  /** The vectors to store for these. */
  async back(vectors: Float32Array): Promise<Float32Array> {
    return this.#matrices === undefined ? vectors : this.#times(vectors, this.#matrices.back, 'plain');
  }

  /** Back to the start: stored vectors stand for themselves. */
  reset(): void {
    this.#matrices = undefined;
  }

  /** [turn, back] and the number of turns, for a checkpoint. */
  state(): { matrices: Float64Array<ArrayBuffer>; turns: number } {
    if (this.#matrices === undefined) return { matrices: new Float64Array(), turns: 0 };
    const { turn, back, turns } = this.#matrices;
    const matrices = new Float64Array(2 * turn.length);
    matrices.set(turn);
    matrices.set(back, turn.length);
    return { matrices, turns };
  }

  restore({ matrices, turns }: { matrices: Float64Array; turns: number }): void {
    const size = this.dimension ** 2;
    this.#matrices =
      turns === 0 ? undefined : { turn: matrices.slice(0, size), back: matrices.slice(size), turns };
  }

  async dispose(): Promise<void> {
    const sessions = await this.#sessions;
    await sessions?.plain.dispose();
    await sessions?.unit.dispose();
  }

  async #times(vectors: Float32Array, matrix: Float64Array, kind: 'plain' | 'unit'): Promise<Float32Array> {
    const { dimension } = this;
    this.#sessions ??= compile(dimension);
    const run = await (await this.#sessions)[kind].run({
      vectors: f32(vectors, [vectors.length / dimension, dimension]),
      matrix: f32(Float32Array.from(matrix), [dimension, dimension]),
    });
    return floats(run.product);
  }
}

async function compile(dimension: number): Promise<{ plain: Session; unit: Session }> {
  const [plain, unit] = [productProgram(dimension, false), productProgram(dimension, true)];
  return { plain: await Session.create(plain), unit: await Session.create(unit) };
}

function identity(dimension: number): Matrices {
  const matrix = new Float64Array(dimension * dimension);
  for (let i = 0; i < dimension; i++) matrix[i * dimension + i] = 1;
  return { turn: matrix, back: matrix, turns: 0 };
}

function rowLengths(matrix: Float32Array, dimension: number): number[] {
  return Array.from({ length: matrix.length / dimension }, (_, row) =>
    Math.hypot(...matrix.subarray(row * dimension, (row + 1) * dimension)),
  );
}
