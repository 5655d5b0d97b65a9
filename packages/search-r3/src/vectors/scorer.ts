/** The program of the exact scan: all or the best scores of queries against a slice of rows. */
import { emit, type Feeds, floats, Graph, gemm, type Program, Session, topK } from 'onnx-grad';

/**
 * Feeds: `queries` [queries, dimension], `vectors` [rows, dimension] and `penalties` [rows], which are added to the
 * scores: 0, or -Infinity for rows that must not be found. Outputs: `scores` [queries, rows]; with `k` the `k` best of
 * each query, `scores` [queries, k] and `indices` [queries, k], equal scores in the order of their rows.
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

/** Runs the program for all scores or for the `k` best. */
export class Scorer {
  readonly #dimension: number;
  readonly #threads: number | undefined;
  /** Sessions by `k`, which is a power of two, so there are few. */
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
