/** Training queries, and where their hard negatives come from. */
import { type Collection, ownDocuments, type SelfExclusion } from '../dataset/index.js';
import { InputError, type RandomStream } from '../run/index.js';

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
