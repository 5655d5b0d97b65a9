/** The program of the exact scan: scores of queries against a slice of rows, all of them or the best. */
import { emit, type Feeds, floats, Graph, gemm, type Program, Session, topK } from 'onnx-grad';

/**
 * Feeds: `queries` [queries, dimension], `vectors` [rows, dimension], `penalties` [rows], added to the scores: 0, or
 * -Infinity for rows not to be found. Outputs: `scores` [queries, rows], or with `k` the `k` best of each query,
 * `scores` [queries, k] and `indices` [queries, k], equal scores in the order of their rows.
 */
function scoringProgram(dimension: number, k?: number): Program {
  const graph = new Graph();
  const queries = graph.input('queries', 'float32', ['queries', dimension]);
  const vectors = graph.input('vectors', 'float32', ['rows', dimension]);
  const penalties = graph.input('penalties', 'float32', ['rows']);
  const scores = gemm(queries, vectors, { transB: true, c: penalties });
  if (k === undefined) {
    graph.output('scores', scores);
  } else {
    const best = topK(scores, k);
    graph.output('scores', best.values);
    graph.output('indices', best.indices);
  }
  return emit(graph);
}

/** Runs the program for all scores and for whatever `k` is asked for. */
export class Scorer {
  readonly #dimension: number;
  readonly #threads: number | undefined;
  /** By `k`, a power of two, so that there are few. */
  readonly #best = new Map<number, Promise<Session>>();
  readonly #all: Session;

  private constructor(dimension: number, threads: number | undefined, all: Session) {
    this.#dimension = dimension;
    this.#threads = threads;
    this.#all = all;
  }

  static async create(dimension: number, threads?: number): Promise<Scorer> {
    return new Scorer(dimension, threads, await compile(dimension, threads));
  }

  /** All scores, [queries * rows]. */
  async scores(feeds: Feeds): Promise<Float32Array> {
    return floats((await this.#all.run(feeds)).scores);
  }

  /** The `k` best of each query, best first: [queries * k]. `k` is at most the number of rows. */
  async best(feeds: Feeds, k: number): Promise<{ scores: Float32Array; indices: BigInt64Array }> {
    const session = this.#best.get(k) ?? compile(this.#dimension, this.#threads, k);
    this.#best.set(k, session);
    const { scores, indices } = await (await session).run(feeds);
    return { scores: floats(scores), indices: indices?.data as BigInt64Array };
  }

  async dispose(): Promise<void> {
    await this.#all.dispose();
    for (const session of this.#best.values()) await (await session).dispose();
  }
}

function compile(dimension: number, threads: number | undefined, k?: number): Promise<Session> {
  return Session.create(scoringProgram(dimension, k), threads === undefined ? {} : { threads });
}
