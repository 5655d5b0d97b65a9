/**
 * Moving all vectors of a large corpus without touching them. They stay what they were some steps ago, in a frame, and
 * what moves is the frame: a vector x stands for x P, P being the product of the maps since. A query q finds with q P' what
 * it would find among the moved ones, since (q P') x = q (x P); what is new is brought into the frame by P's inverse.
 *
 * Lengths of moved vectors are not brought back to 1 one by one: P is scaled so that those of a sample are 1 in the mean.
 * After some steps, once lengths differ too much, or where P has no inverse, the vectors should be moved in earnest.
 */
import { f32, floats, Session } from 'onnx-grad';
import { factorised } from './drift/cholesky.js';
import { productProgram } from './drift/programs.js';
import { addProduct, transposed } from './drift/ridge.js';

/** Maps in a row: rounding adds up. */
const MOST_TURNS = 16;
/** Standard deviation of the lengths that vectors stand for, and so the relative one of scores that are scanned. */
const MOST_SPREAD = 0.01;

/** Matrices [dimension * dimension] by rows. */
interface Matrices {
  /** P', and the inverse of P, of no use where it has none. */
  turn: Float64Array;
  back: Float64Array;
  turns: number;
}

export class Frame {
  readonly dimension: number;
  #matrices: Matrices | undefined;
  /** Products, and products of length 1; made when they are needed, which is in large corpora. */
  #sessions: Promise<{ plain: Session; unit: Session }> | undefined;

  constructor(dimension: number) {
    this.dimension = dimension;
  }

  /** Whether vectors stand for others. */
  get turned(): boolean {
    return this.#matrices !== undefined;
  }

  /**
   * Moves all by one more map; `sample`: some vectors of the frame, whose mean length stays 1. Whether the frame has
   * served its time: then vectors are to be moved in earnest before anything is brought into it.
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

  /** Queries as they find vectors of the frame. */
  async queries(vectors: Float32Array): Promise<Float32Array> {
    return this.#matrices === undefined ? vectors : this.#times(vectors, this.#matrices.turn, 'plain');
  }

  /** What vectors of the frame stand for, of length 1. */
  async now(vectors: Float32Array): Promise<Float32Array> {
    if (this.#matrices === undefined) return vectors;
    return this.#times(vectors, transposed(this.#matrices.turn, this.dimension), 'unit');
  }

  /** The same of a single one, at once. */
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

  /** Vectors of the frame that stand for these. */
  async back(vectors: Float32Array): Promise<Float32Array> {
    return this.#matrices === undefined ? vectors : this.#times(vectors, this.#matrices.back, 'plain');
  }

  /** Vectors stand for themselves again. */
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
