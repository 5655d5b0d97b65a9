/**
 * Ranks the documents of a collection by BM25, by the direct embedding, by the embedding after reasoning, by both fused,
 * and by hybrids of BM25 and each of these. The weights of fusions and hybrids are tuned on training queries.
 */
import {
  type Collection,
  documentText,
  ownDocuments,
  type Qrels,
  type Query,
  type Rankings,
  type SelfExclusion,
} from '../dataset/index.js';
import type { Embedder, Embedding, EmbedOptions } from '../embed/index.js';
import { InputError, type PartProgress } from '../run/index.js';
import { ExactIndex } from '../vectors/index.js';
import { type TextAnalysis, textAnalysis } from './analyzer.js';
import { Bm25Index } from './bm25.js';
import { fusePair, tuneFusionWeight } from './fusion.js';
import { scoreRankings } from './metrics.js';
import { type AnalyzerChoice, type AnalyzerKind, DEFAULT_SYSTEMS, type RetrieverSystem } from './names.js';
import { bestShare, fuseQueryVectors } from './vector-fusion.js';

export interface RetrieverOptions {
  /** Which of the systems to run. Default `DEFAULT_SYSTEMS`. */
  systems?: readonly RetrieverSystem[];
  /** Judgements of training queries, on which the hybrids are tuned; without them no hybrid is made. */
  tuning?: Qrels;
  /** Tune on at most this many training queries. Default 200. */
  tuningQueries?: number;
  /** Documents per ranking. Default 100. */
  depth?: number;
  /** Whether queries that are documents are left out of their own ranking; see `ownDocuments`. Default `auto`. */
  excludeSelf?: SelfExclusion;
  /** How texts become terms for BM25. Default `auto`. */
  analyzer?: AnalyzerChoice;
  /** Longest text in tokens. Default: what the model was trained with; see `EmbedOptions`. */
  maxLength?: number;
  /** Length limit of the reasoning. Default: what the model was trained with; see `EmbedOptions`. */
  maxNewTokens?: number;
  /** Reasonings of a query whose vectors become their mean. Default 1. */
  samples?: number;
  /** Sampling temperature of the reasoning. More than one sample needs one above 0. Default 0: the most probable. */
  temperature?: number;
  signal?: AbortSignal;
  onProgress?: (event: PartProgress) => void;
}

export interface RetrieverRun {
  rankings: Partial<Record<RetrieverSystem, Rankings>>;
  /** The embeddings after reasoning, by query id. */
  reasoned: Map<string, Embedding>;
  /** Share of the dense score in each hybrid, as tuned. */
  weights: Partial<Record<Hybrid, number>>;
  /** Share of the reasoned vector in the fused one; undefined where no system fuses. */
  reasonedShare?: number;
  /** Texts that were cut to fit, by how they were embedded. */
  truncated: Partial<Record<'documents' | 'direct' | 'reasoned', number>>;
  /** How BM25 cut the texts; undefined if no system uses BM25. */
  analysis?: TextAnalysis;
}

/** How a query becomes a vector, and the hybrid of BM25 and that. */
const HYBRID = { direct: 'hybrid', reasoned: 'hybrid_reasoned', fused: 'hybrid_fused' } as const;
type Dense = keyof typeof HYBRID;
type Hybrid = (typeof HYBRID)[Dense];
const DENSE = Object.keys(HYBRID) as Dense[];
const HYBRIDS = Object.values(HYBRID);

/** Queries, and the vectors that were made of them so far. */
interface EmbeddedQueries {
  readonly queries: readonly Query[];
  readonly made: Partial<Record<'direct' | 'reasoned', Promise<Embedding[]>>>;
}

/** Documents and judged queries of a collection, encoded once and searched by any vectors. */
export class RetrieverEvaluation {
  readonly #model: Embedder | undefined;
  readonly #collection: Collection;
  readonly #options: RetrieverOptions;
  #index: Promise<ExactIndex> | undefined;
  #bm25: Bm25Index | undefined;
  #truncatedDocuments = 0;
  /** The queries whose own document, the one with their id, is left out of their ranking. */
  readonly ownDocuments: ReadonlySet<string>;

  /** @param embedder needed by every system but `bm25`. */
  constructor(embedder: Embedder | undefined, collection: Collection, options: RetrieverOptions = {}) {
    this.#model = embedder;
    this.#collection = collection;
    this.#options = options;
    this.ownDocuments = ownDocuments(collection, options.excludeSelf);
  }

  /**
   * Rankings of the judged queries by every system asked for.
   * @throws InputError if a query is missing, or a system needs a model and there is none.
   */
  async run(qrels: Qrels): Promise<RetrieverRun> {
    const { systems = DEFAULT_SYSTEMS, tuning } = this.#options;
    const wants = (...names: RetrieverSystem[]) => names.some((name) => systems.includes(name));
    const queries = this.#queries(qrels);
    // Encoding the documents takes long, so the room for reasoning is checked first.
    if (wants('reasoned', 'hybrid_reasoned', 'fused', 'hybrid_fused')) {
      await this.#embedder.longestPrompt(this.#how('query', true));
    }
    const run: RetrieverRun = { rankings: {}, reasoned: new Map(), weights: {}, truncated: {} };
    const lexical = wants('bm25', ...HYBRIDS) ? this.#lexical(queries) : undefined;
    if (wants('bm25') && lexical !== undefined) run.rankings.bm25 = lexical;
    if (lexical !== undefined) run.analysis = this.#analysis(queries);
    const own = this.#embedded(queries);
    const tuned = tuning && this.#tuningQueries(tuning);
    let tunedLexical: Rankings | undefined;
    for (const dense of DENSE) {
      const hybrid = HYBRID[dense];
      if (!wants(dense, hybrid)) continue;
      const share = dense === 'fused' ? await this.#share(tuned) : undefined;
      const rankings = await this.#rank(own, dense, share);
      if (share !== undefined) run.reasonedShare = share;
      run.rankings[dense] = rankings;
      if (!wants(hybrid) || tuned === undefined || lexical === undefined) continue;
      const second = await this.#rank(tuned, dense, share);
      tunedLexical ??= this.#lexical(tuned.queries);
      const how = { method: 'min-max', metric: 'ndcg@10' } as const;
      const { weight } = tuneFusionWeight(tuned.qrels, tunedLexical, second, how);
      run.weights[hybrid] = weight;
      run.rankings[hybrid] = fusePair(lexical, rankings, 'min-max', weight);
    }
    if (own.made.direct !== undefined || own.made.reasoned !== undefined) {
      run.truncated.documents = this.#truncatedDocuments;
    }
    for (const [kind, made] of Object.entries(own.made) as [keyof typeof own.made, Promise<Embedding[]>][]) {
      const embedded = await made;
      run.truncated[kind] = truncatedAmong(embedded);
      if (kind !== 'reasoned') continue;
      for (const [i, { id }] of queries.entries()) run.reasoned.set(id, embedded[i] as Embedding);
    }
    return run;
  }

  /** The `depth` best documents for query vectors [queries * dimension], in the order of `ids`. */
  async search(ids: readonly string[], vectors: Float32Array): Promise<Rankings> {
    const index = await this.#documents();
    const { corpus } = this.#collection;
    const depth = Math.min(this.#searched, corpus.length);
    const { rows, scores } = await index.search(vectors, depth);
    return this.#withoutOwn(
      new Map(
        ids.map((id, query) => {
          const own = new Map<string, number>();
          for (let i = query * depth; i < (query + 1) * depth; i++) {
            own.set(corpus[rows[i] as number]?.id as string, scores[i] as number);
          }
          return [id, own];
        }),
      ),
    );
  }

  async dispose(): Promise<void> {
    // If the index could not be built, its error was thrown earlier.
    const index = await this.#index?.catch(() => undefined);
    await index?.dispose();
  }

  get #embedder(): Embedder {
    if (this.#model !== undefined) return this.#model;
    const expected = 'a model, for every system but bm25';
    throw new InputError({ source: 'RetrieverEvaluation', field: 'embedder', expected, found: 'none' });
  }

  get #depth(): number {
    return this.#options.depth ?? 100;
  }

  /** How many documents to search for: one more if one of them may be left out. */
  get #searched(): number {
    return this.#depth + (this.ownDocuments.size > 0 ? 1 : 0);
  }

  /** Rankings, best first, without the queries' own documents and no longer than asked for. */
  #withoutOwn(rankings: Rankings): Rankings {
    if (this.ownDocuments.size === 0) return rankings;
    const kept = (query: string, ranking: ReadonlyMap<string, number>) =>
      [...ranking].filter(([id]) => id !== query || !this.ownDocuments.has(query)).slice(0, this.#depth);
    return new Map(Array.from(rankings, ([query, ranking]) => [query, new Map(kept(query, ranking))]));
  }

  #analysis(queries: readonly Query[]): TextAnalysis {
    const texts = [...this.#collection.corpus.map(documentText), ...queries.map(({ text }) => text)];
    return textAnalysis(this.#bm25?.analyzer as AnalyzerKind, texts);
  }

  #queries(qrels: Qrels): Query[] {
    return [...qrels.keys()].map((id) => {
      const query = this.#collection.queries.get(id);
      if (query === undefined) {
        throw new InputError({
          source: 'judgements',
          field: id,
          expected: 'a query of the collection',
          found: 'none',
        });
      }
      return query;
    });
  }

  #lexical(queries: readonly Query[]): Rankings {
    const { analyzer = 'auto' } = this.#options;
    this.#bm25 ??= Bm25Index.build(this.#collection.corpus, { analyzer });
    return this.#withoutOwn(this.#bm25.rank(queries, this.#searched));
  }

  /** Queries that are embedded when that is first needed. */
  #embedded(queries: readonly Query[]): EmbeddedQueries {
    return { queries, made: {} };
  }

  /** Training queries that weights are tuned on. */
  #tuningQueries(tuning: Qrels): EmbeddedQueries & { qrels: Qrels } {
    const qrels: Qrels = new Map([...tuning].slice(0, this.#options.tuningQueries ?? 200));
    return { ...this.#embedded(this.#queries(qrels)), qrels };
  }

  async #vectors({ queries, made }: EmbeddedQueries, kind: 'direct' | 'reasoned'): Promise<Embedding[]> {
    await this.#documents();
    const reasoning = kind === 'reasoned';
    made[kind] ??= this.#embed(
      reasoning ? 'reasoning' : 'queries',
      queries.map(({ text }) => text),
      { role: 'query', reasoning },
    );
    return made[kind];
  }

  /** @param share of the reasoned vector, where both are fused. */
  async #rank(own: EmbeddedQueries, kind: Dense, share = 0): Promise<Rankings> {
    const ids = own.queries.map(({ id }) => id);
    if (kind === 'fused') {
      const direct = await this.#vectors(own, 'direct');
      return this.search(ids, fuseQueryVectors(direct, await this.#vectors(own, 'reasoned'), share));
    }
    return this.search(ids, matrixOf(await this.#vectors(own, kind), this.#embedder.dimension));
  }

  /** The share of the reasoned vector that does best on training queries; a half without any. */
  async #share(tuned: (EmbeddedQueries & { qrels: Qrels }) | undefined): Promise<number> {
    if (tuned === undefined) return 0.5;
    return bestShare(async (share) => {
      const rankings = await this.#rank(tuned, 'fused', share);
      return scoreRankings(tuned.qrels, rankings, ['ndcg@10'])['ndcg@10'].mean;
    });
  }

  #documents(): Promise<ExactIndex> {
    this.#index ??= (async () => {
      const texts = this.#collection.corpus.map(documentText);
      const embedded = await this.#embed('documents', texts, { role: 'document', reasoning: false });
      this.#truncatedDocuments = truncatedAmong(embedded);
      const index = await ExactIndex.create(this.#embedder.dimension, { capacity: texts.length });
      index.setAll(matrixOf(embedded, this.#embedder.dimension), texts.length);
      return index;
    })();
    return this.#index;
  }

  #embed(
    part: string,
    texts: readonly string[],
    how: { role: 'query' | 'document'; reasoning: boolean },
  ): Promise<Embedding[]> {
    const { signal, onProgress } = this.#options;
    return this.#embedder.embed(texts, {
      ...this.#how(how.role, how.reasoning),
      ...(signal && { signal }),
      ...(onProgress && { onProgress: (done: number, total: number) => onProgress({ part, done, total }) }),
    });
  }

  #how(role: 'query' | 'document', reasoning: boolean): EmbedOptions {
    const { maxLength, maxNewTokens, samples = 1, temperature = 0 } = this.#options;
    return {
      role,
      reasoning,
      ...(reasoning && { samples, temperature }),
      ...(maxLength !== undefined && { maxLength }),
      ...(maxNewTokens !== undefined && { maxNewTokens }),
    };
  }
}

const truncatedAmong = (embedded: readonly Embedding[]): number =>
  embedded.filter(({ truncated }) => truncated).length;

/** Vectors as the rows of one matrix. */
export function matrixOf(embedded: readonly Pick<Embedding, 'vector'>[], dimension: number): Float32Array {
  const matrix = new Float32Array(embedded.length * dimension);
  for (const [i, { vector }] of embedded.entries()) matrix.set(vector, i * dimension);
  return matrix;
}
