/** The programs that move vectors, for blocks of any size: the linear map, the kernel, and its correction. */
import {
  add,
  div,
  emit,
  exp,
  f32,
  floats,
  Graph,
  gemm,
  mul,
  type Program,
  Session,
  sqrt,
  sub,
  sum,
  type Value,
} from 'onnx-grad';

/** Each row of [rows, dimension] divided by its length. */
const unitRows = (x: Value): Value => div(x, sqrt(sum(mul(x, x), [1], true)));

/** `product`: `vectors` [rows, d] times `matrix` [d, d]; if `unit`, its rows are scaled to length 1. */
export function productProgram(dimension: number, unit: boolean): Program {
  const graph = new Graph();
  const vectors = graph.input('vectors', 'float32', ['rows', dimension]);
  const matrix = graph.input('matrix', 'float32', [dimension, dimension]);
  const product = gemm(vectors, matrix);
  graph.output('product', unit ? unitRows(product) : product);
  return emit(graph);
}

/** `words` [rows, pairs] + share exp(sharpness (cos - 1)) of `vectors` [rows, d] with `known` [pairs, d]. */
function kernelProgram(dimension: number, share: number, sharpness: number): Program {
  const graph = new Graph();
  const vectors = graph.input('vectors', 'float32', ['rows', dimension]);
  const known = graph.input('known', 'float32', ['pairs', dimension]);
  const words = graph.input('words', 'float32', ['rows', 'pairs']);
  const cosines = gemm(vectors, known, { transB: true });
  const close = exp(mul(sub(cosines, graph.scalar(1)), graph.scalar(sharpness)));
  graph.output('kernel', add(words, mul(close, graph.scalar(share))));
  return emit(graph);
}

/** `moved` [rows, d] plus `kernel` [rows, pairs] times `coefficients` [pairs, d], normalised. */
function correctProgram(dimension: number): Program {
  const graph = new Graph();
  const moved = graph.input('moved', 'float32', ['rows', dimension]);
  const kernel = graph.input('kernel', 'float32', ['rows', 'pairs']);
  const coefficients = graph.input('coefficients', 'float32', ['pairs', dimension]);
  graph.output('corrected', unitRows(gemm(kernel, coefficients, { c: moved })));
  return emit(graph);
}

export class DriftPrograms {
  readonly #dimension: number;
  readonly #move: Session;
  readonly #kernel: Session;
  readonly #correct: Session;

  private constructor(dimension: number, sessions: readonly [Session, Session, Session]) {
    this.#dimension = dimension;
    [this.#move, this.#kernel, this.#correct] = sessions;
  }

  /** `share` and `sharpness` of the part of the kernel that is exp(sharpness (cos - 1)). */
  static async create(dimension: number, share: number, sharpness: number): Promise<DriftPrograms> {
    return new DriftPrograms(dimension, [
      await Session.create(productProgram(dimension, true)),
      await Session.create(kernelProgram(dimension, share, sharpness)),
      await Session.create(correctProgram(dimension)),
    ]);
  }

  async move(vectors: Float32Array, matrix: Float32Array): Promise<Float32Array> {
    const feeds = { vectors: this.#rows(vectors), matrix: this.#rows(matrix) };
    return floats((await this.#move.run(feeds)).product);
  }

  async kernel(vectors: Float32Array, known: Float32Array, words: Float32Array): Promise<Float32Array> {
    const feeds = { vectors: this.#rows(vectors), known: this.#rows(known) };
    const pairs = known.length / this.#dimension;
    const run = await this.#kernel.run({ ...feeds, words: f32(words, [words.length / pairs, pairs]) });
    return floats(run.kernel);
  }

  async correct(
    moved: Float32Array,
    kernel: Float32Array,
    coefficients: Float32Array,
  ): Promise<Float32Array> {
    const pairs = coefficients.length / this.#dimension;
    const run = await this.#correct.run({
      moved: this.#rows(moved),
      kernel: f32(kernel, [kernel.length / pairs, pairs]),
      coefficients: this.#rows(coefficients),
    });
    return floats(run.corrected);
  }

  async dispose(): Promise<void> {
    for (const session of [this.#move, this.#kernel, this.#correct]) await session.dispose();
  }

  #rows(matrix: Float32Array) {
    return f32(matrix, [matrix.length / this.#dimension, this.#dimension]);
  }
}
