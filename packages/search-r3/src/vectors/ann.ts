/**
 * The approximate index searches a proximity graph for the vectors that have not changed since it was built, scans
 * those that have, and merges the results. So a changed vector is always found, and changes do not erode the recall;
 * they only make searches slower until a new graph, built in the background, takes over.
 */
import { Mutex } from 'async-mutex';
import { randomStream } from '../run/random.js';
import { validate } from '../run/validate.js';
import { type AnnIndexOptions, annOptionsSchema, type ResolvedAnnOptions } from './ann-options.js';
import { bestOf, dot, ranksAmong } from './candidates.js';
import { ChangedRows } from './changed-rows.js';
import { ExactIndex } from './exact.js';
import { Graph } from './graph.js';
import { completed, evenly, pickQueries, queryOf } from './queries.js';
import { type MeasuredRecall, RecallWindow, recallOf } from './recall.js';
import type { SearchResult, VectorIndex } from './types.js';

/** Number of queries that a new graph is tested on before it is used; random rows fill it up. */
const TRIAL_QUERIES = 64;
/** Minimum number of rows compared per trial query. */
const TRIAL_K = 10;
/** Minimum number of measured queries before the recall has consequences. */
const TRUSTED_QUERIES = 32;
const WIDENING = 1.5;

interface Building {
  graph: Graph;
  state: 'under way' | 'built' | { failed: unknown };
  /** Never rejects. */
  done: Promise<void>;
}

export interface SavedGraph {
  path: string;
  /** Rows that it was built of: those below this number. */
  rows: number;
}

export interface GraphReport {
  /** Rows that the graph answers for; 0: every search is an exact scan. */
  rows: number;
  /** Changed rows, which are scanned. */
  changed: number;
  /** Candidates of a search. */
  width: number;
  /** Graphs used so far. */
  builds: number;
  /** Whether a graph is being built. */
  building: boolean;
}

/** See `VectorIndex`; for unit vectors. Change it only between searches; graphs are built at any time. */
export class AnnIndex implements VectorIndex {
  readonly dimension: number;
  readonly #options: ResolvedAnnOptions;
  /** All vectors. */
  readonly #exact: ExactIndex;
  readonly #changed: ChangedRows;
  #graph: Graph | undefined;
  #building: Building | undefined;
  #width: number;
  #builds = 0;
  readonly #recall = new RecallWindow();
  /** Queries whose recall is still to be measured. */
  #due = 0;
  /** Searches run one after the other, because one may exchange the graph. */
  readonly #turn = new Mutex();

  private constructor(exact: ExactIndex, changed: ChangedRows, options: ResolvedAnnOptions) {
    this.dimension = exact.dimension;
    this.#exact = exact;
    this.#changed = changed;
    this.#options = options;
    this.#width = options.searchWidth;
  }

  /** An empty index. @throws InputError for invalid options. */
  static async create(dimension: number, options: AnnIndexOptions = {}): Promise<AnnIndex> {
    const { capacity, threads } = validate(annOptionsSchema, options, 'AnnIndex options');
    return AnnIndex.over(await ExactIndex.create(dimension, { capacity, threads }), options);
  }

  /**
   * Takes over an exact index: the caller must not change it any more, and it is disposed of with this one.
   *
   * @param saved a graph of its first rows, see `writeGraph`. @throws InputError for the graph of a different index.
   */
  static async over(exact: ExactIndex, options: AnnIndexOptions = {}, saved?: SavedGraph): Promise<AnnIndex> {
    const resolved = validate(annOptionsSchema, options, 'AnnIndex options');
    const changed = await ChangedRows.create(exact.dimension, resolved.threads);
    const index = new AnnIndex(exact, changed, resolved);
    if (saved === undefined) return index;
    const graph = index.#emptyGraph();
    try {
      await graph.load(saved.path, saved.rows);
    } catch (error) {
      await Promise.all([graph.dispose(), changed.dispose()]);
      throw error;
    }
    for (let row = 0; row < saved.rows; row++) if (!exact.has(row)) graph.drop(row);
    index.#building = { graph, state: 'built', done: Promise.resolve() };
    return index;
  }

  get size(): number {
    return this.#exact.size;
  }

  get live(): number {
    return this.#exact.live;
  }

  /** Recall of the latest sampled queries, at most 256; undefined before there were any. */
  get recall(): MeasuredRecall | undefined {
    return this.#recall.value;
  }

  get graph(): GraphReport {
    return {
      rows: this.#graph?.live ?? 0,
      changed: this.#graph === undefined ? 0 : this.#changed.count,
      width: this.#width,
      builds: this.#builds,
      building: this.#building?.state === 'under way',
    };
  }

  async setAll(matrix: Float32Array, count: number): Promise<void> {
    this.#exact.setAll(matrix, count);
    const [graph, building] = [this.#graph, this.#building];
    this.#graph = undefined;
    this.#building = undefined;
    this.#recall.clear();
    await Promise.all([graph?.dispose(), building?.graph.dispose()]);
  }

  set(row: number, vector: Float32Array): void {
    this.#exact.set(row, vector);
    this.#drop(row);
    if (this.#graph !== undefined) this.#changed.put(row, vector);
  }

  append(vectors: Float32Array): number {
    const first = this.#exact.append(vectors);
    if (this.#graph !== undefined) {
      for (let row = first; row < this.size; row++) this.#changed.put(row, this.#exact.vector(row));
    }
    return first;
  }

  remove(row: number): void {
    this.#exact.remove(row);
    this.#drop(row);
    if (this.#graph !== undefined) this.#changed.remove(row);
  }

  has(row: number): boolean {
    return this.#exact.has(row);
  }

  vector(row: number): Float32Array {
    return this.#exact.vector(row);
  }

  async scores(queries: Float32Array): Promise<Float32Array> {
    return this.#exact.scores(queries);
  }

  /** Among equal scores that are found, the smaller row comes first. */
  async search(queries: Float32Array, k: number): Promise<SearchResult> {
    return this.#turn.runExclusive(async () => {
      if (!(await this.#useGraph(queries, k))) return this.#exact.search(queries, k);
      const found = await this.#search(queries, k);
      await this.#sample(queries, found);
      return found;
    });
  }

  /**
   * The rank of a positive that scores above the worst of the `rankDepth` rows found by a search is counted among
   * these. That rank is too small by the number of better rows that the search missed (on average a share of 1 -
   * recall), and never too large. If any positive of a query scores lower, all ranks of the query are exact.
   */
  async ranks(queries: Float32Array, positives: readonly (readonly number[])[]): Promise<number[][]> {
    const { rankDepth } = this.#options;
    return this.#turn.runExclusive(async () => {
      this.#exact.checkQueries(queries, positives);
      if (rankDepth === 0 || !(await this.#useGraph(queries, rankDepth))) {
        return this.#exact.ranks(queries, positives);
      }
      const { k, rows, scores } = await this.#search(queries, rankDepth);
      const ranks = positives.map((own, query) => {
        const best = Array.from({ length: k }, (_, i) => ({
          row: rows[query * k + i] as number,
          score: scores[query * k + i] as number,
        }));
        const asked = queryOf(queries, query, this.dimension);
        const scored = own.map((row) => ({ row, score: dot(asked, this.vector(row)) }));
        return ranksAmong(best, scored, k === this.live);
      });
      return completed(ranks, (open) =>
        this.#exact.ranks(
          pickQueries(queries, open, this.dimension),
          open.map((query) => positives[query] as readonly number[]),
        ),
      );
    });
  }

  /** Measures the recall of a search for `k` against an exact scan; the result counts for `recall`. */
  async measureRecall(queries: Float32Array, k: number): Promise<MeasuredRecall> {
    return this.#turn.runExclusive(async () => {
      const count = this.#exact.checkQueries(queries);
      if (!(await this.#useGraph(queries, k))) return { recall: 1, queries: count };
      return this.#measure(queries, await this.#search(queries, k));
    });
  }

  /**
   * Builds a new graph in the background, unless one is being built. Resolves when it is built or `setAll` cancels it.
   * The next search uses it.
   */
  async rebuild(): Promise<void> {
    this.#building ??= this.#build();
    const building = this.#building;
    await building.done;
    if (this.#building === building) this.#refuseFailure();
  }

  async dispose(): Promise<void> {
    const building = this.#building;
    this.#building = undefined;
    await Promise.all([this.#graph?.dispose(), building?.graph.dispose()]);
    await this.#exact.dispose();
    await this.#changed.dispose();
  }

  /** Adopts a finished graph, starts a build that is due, and returns whether there is a graph to search. */
  async #useGraph(queries: Float32Array, k: number): Promise<boolean> {
    const count = this.#exact.checkQueries(queries);
    this.#refuseFailure();
    // The scan reports bad arguments.
    if (count === 0 || this.live === 0 || !(k >= 1)) return false;
    if (this.#building?.state === 'built') await this.#adopt(this.#building.graph, queries, k);
    if (this.#isBuildDue()) this.#building ??= this.#build();
    return this.#graph !== undefined;
  }

  #isBuildDue(): boolean {
    if (this.live < this.#options.graphFrom) return false;
    if (this.#graph === undefined) return true;
    const { total, live } = this.#graph;
    return Math.max(total - live, this.#changed.count) > this.#options.staleShare * total;
  }

  #emptyGraph(): Graph {
    const { connectivity, buildWidth, threads } = this.#options;
    return new Graph({ dimension: this.dimension, connectivity, buildWidth, threads });
  }

  #build(): Building {
    const graph = this.#emptyGraph();
    const building: Building = { graph, state: 'under way', done: Promise.resolve() };
    building.done = graph.fill(this.#exact).then(
      () => {
        building.state = 'built';
      },
      (failed: unknown) => {
        building.state = { failed };
      },
    );
    return building;
  }

  #refuseFailure(): void {
    const state = this.#building?.state;
    if (typeof state === 'object')
      throw new Error('AnnIndex: building a graph failed', { cause: state.failed });
  }

  /** Replaces the graph and widens searches until their recall on trial queries is at least `minRecall`. */
  async #adopt(graph: Graph, queries: Float32Array, k: number): Promise<void> {
    const old = this.#graph;
    const missing: number[] = [];
    for (let row = 0; row < this.size; row++) if (this.has(row) && !graph.holds(row)) missing.push(row);
    this.#changed.replace(this.#exact, missing);
    this.#graph = graph;
    this.#building = undefined;
    this.#builds++;
    this.#recall.clear();
    await old?.dispose();
    const trial = this.#trialQueries(queries);
    const truth = await this.#exact.search(trial, Math.max(k, TRIAL_K));
    this.#width = this.#options.searchWidth;
    while (this.#width < graph.total) {
      const { rows } = await this.#search(trial, truth.k);
      if (recallOf(rows, truth.rows, truth.k) >= this.#options.minRecall) break;
      this.#widen();
    }
  }

  /** Some of the queries, filled up with random rows. */
  #trialQueries(queries: Float32Array): Float32Array {
    const { dimension } = this;
    const trial = new Float32Array(TRIAL_QUERIES * dimension);
    const count = queries.length / dimension;
    const random = randomStream(0, 'trial of a graph', this.#builds);
    const own = evenly(count, Math.min(count, TRIAL_QUERIES));
    for (let i = 0; i < TRIAL_QUERIES; i++) {
      const query = own[i];
      let row = random.integer(this.size);
      while (!this.has(row)) row = (row + 1) % this.size;
      trial.set(
        query === undefined ? this.vector(row) : queryOf(queries, query, this.dimension),
        i * dimension,
      );
    }
    return trial;
  }

  #widen(): void {
    this.#width = Math.ceil(this.#width * WIDENING);
  }

  /** Searches the graph and scans the changed vectors; scans everything for queries that the graph cannot answer. */
  async #search(queries: Float32Array, k: number): Promise<SearchResult> {
    const graph = this.#graph as Graph;
    const limit = Math.min(k, this.live);
    const near = await graph.candidates(queries, limit, this.#width);
    const changed = await this.#changed.search(queries, limit);
    const best = near.map((rows, query) => {
      if (rows === undefined) return undefined;
      const all = rows.concat(changed[query] as number[]);
      return bestOf(this.#exact, queryOf(queries, query, this.dimension), all, limit);
    });
    const whole = await completed(best, async (open) => {
      const { rows } = await this.#exact.search(pickQueries(queries, open, this.dimension), limit);
      return open.map((query, i) => {
        const own = Array.from(rows.subarray(i * limit, (i + 1) * limit));
        return bestOf(this.#exact, queryOf(queries, query, this.dimension), own, limit);
      });
    });
    const flat = whole.flat();
    return {
      k: limit,
      rows: Int32Array.from(flat, ({ row }) => row),
      scores: Float32Array.from(flat, ({ score }) => score),
    };
  }

  async #sample(queries: Float32Array, found: SearchResult): Promise<void> {
    const count = queries.length / this.dimension;
    this.#due += count * this.#options.sampleShare;
    const sampled = evenly(count, Math.min(count, Math.floor(this.#due)));
    if (sampled.length === 0) return;
    this.#due -= sampled.length;
    const rows = sampled.flatMap((query) =>
      Array.from(found.rows.subarray(query * found.k, (query + 1) * found.k)),
    );
    await this.#measure(pickQueries(queries, sampled, this.dimension), {
      k: found.k,
      rows: Int32Array.from(rows),
    });
  }

  async #measure(
    queries: Float32Array,
    { k, rows }: Pick<SearchResult, 'k' | 'rows'>,
  ): Promise<MeasuredRecall> {
    const truth = await this.#exact.search(queries, k);
    const measured = { recall: recallOf(rows, truth.rows, k), queries: queries.length / this.dimension };
    this.#recall.add(measured);
    const known = this.#recall.value;
    if (known !== undefined && known.queries >= TRUSTED_QUERIES && known.recall < this.#options.minRecall) {
      this.#mend();
    }
    return measured;
  }

  /** Called when the recall is too low: widens searches at once, and rebuilds a graph that has dropped rows. */
  #mend(): void {
    const graph = this.#graph as Graph;
    if (this.#width < graph.total) this.#widen();
    this.#recall.clear();
    if (graph.live < graph.total) this.#building ??= this.#build();
  }

  #drop(row: number): void {
    this.#graph?.drop(row);
    this.#building?.graph.drop(row);
  }
}
