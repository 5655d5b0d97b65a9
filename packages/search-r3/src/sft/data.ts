/** Training queries, and the order in which steps draw them. */
import { type Collection, ownDocuments, type SelfExclusion } from '../dataset/index.js';
import { InputError, type RandomStream, randomStream } from '../run/index.js';

export interface TrainingQuery {
  id: string;
  text: string;
  /** Documents that answer it, with their grades (above 0). */
  relevant: ReadonlyMap<string, number>;
  /** Which of them are drawn as positives. Default all. */
  positives?: readonly string[];
  /** The document that is the query (see `ownDocuments`): it is not ranked for it. Default none. */
  own?: string;
  /** Documents that are no negatives of the query beside those that answer it; see `withNoNegatives`. Default none. */
  noNegatives?: ReadonlySet<string>;
}

/** Whether a document may be a negative of a query, drawn for it or as another query's document of the same batch. */
export const mayBeNegative = ({ relevant, own, noNegatives }: TrainingQuery, id: string): boolean =>
  !relevant.has(id) && id !== own && !noNegatives?.has(id);

/** The documents a query's positive is drawn from. */
export const positivesOf = ({ relevant, positives }: TrainingQuery): readonly string[] =>
  positives ?? [...relevant.keys()];

/** Draws a hard negative for a query and the positive chosen for it; `undefined` where there is none. */
export type NegativeSource = (
  query: TrainingQuery,
  positive: string,
  random: RandomStream,
) => string | undefined;

/**
 * The queries of a split that have a relevant document, in the order of the judgements. A query's own document is none of
 * them.
 */
export function trainingQueries(
  collection: Collection,
  split: string,
  excludeSelf: SelfExclusion = 'auto',
): TrainingQuery[] {
  const qrels = collection.qrels.get(split);
  if (qrels === undefined) {
    throw new InputError({
      source: 'collection',
      field: 'qrels',
      expected: `the split ${split}`,
      found: [...collection.qrels.keys()].join(', ') || 'none',
    });
  }
  const own = ownDocuments(collection, excludeSelf);
  const queries: TrainingQuery[] = [];
  for (const [id, grades] of qrels) {
    const isOwn = own.has(id);
    const relevant = new Map(
      [...grades].filter(([document, grade]) => grade > 0 && !(isOwn && document === id)),
    );
    const query = collection.queries.get(id);
    if (relevant.size === 0 || query === undefined) continue;
    queries.push({ id, text: query.text, relevant, ...(isOwn && { own: id }) });
  }
  if (queries.length === 0) {
    const expected = 'queries with a relevant document';
    throw new InputError({ source: 'collection', field: `qrels ${split}`, expected, found: 'none' });
  }
  return queries;
}

/** Shuffles once per epoch; indices of any step follow from the seed alone, so a resumed run skips and repeats none. */
export class EpochSampler {
  readonly #count: number;
  readonly #batch: number;
  readonly #seed: number;
  readonly #label: string;
  #epoch = -1;
  #order: number[] = [];

  /** @throws InputError when a batch is larger than an epoch. */
  constructor(options: { count: number; batchSize: number; seed: number; label: string }) {
    if (options.batchSize > options.count) {
      throw new InputError({
        source: options.label,
        field: 'batchSize',
        expected: `at most the ${options.count} training queries`,
        found: String(options.batchSize),
      });
    }
    this.#count = options.count;
    this.#batch = options.batchSize;
    this.#seed = options.seed;
    this.#label = options.label;
  }

  /** Indices of a step's batch: different ones within an epoch; a batch may straddle two. */
  batch(step: number): number[] {
    return Array.from({ length: this.#batch }, (_, i) => {
      const position = step * this.#batch + i;
      const epoch = Math.floor(position / this.#count);
      if (epoch !== this.#epoch) {
        const all = Array.from({ length: this.#count }, (__, index) => index);
        this.#order = randomStream(this.#seed, this.#label, 'epoch', epoch).shuffle(all);
        this.#epoch = epoch;
      }
      return this.#order[position % this.#count] as number;
    });
  }
}

/**
 * In which order the first `steps` steps of a sampler draw `count` queries for the first time: the indices, and how many
 * of them step `step` (from 0) and those before it draw.
 */
export function drawingOrder(
  sampler: EpochSampler,
  count: number,
  steps: number,
): { order: number[]; drawnBy: (step: number) => number } {
  const order = new Set<number>();
  const drawn: number[] = [];
  for (let step = 0; step < steps && order.size < count; step++) {
    for (const index of sampler.batch(step)) order.add(index);
    drawn.push(order.size);
  }
  return { order: [...order], drawnBy: (step) => drawn[step] ?? order.size };
}
