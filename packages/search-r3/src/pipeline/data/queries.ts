/** What both stages train on: two disjoint sets of queries, texts by document id, and hard negatives. */
import {
  type Collection,
  documentText,
  type SelfExclusion,
  sameTexts,
  titlePairs,
} from '../../dataset/index.js';
import type { AnalyzerChoice } from '../../evaluate/index.js';
import { InputError, randomStream } from '../../run/index.js';
import {
  lexicalNegatives,
  type NegativeSource,
  positivesOf,
  queryKey,
  type TrainingQuery,
  trainingQueries,
  withNoNegatives,
} from '../../sft/index.js';
import type { QuerySettings } from '../settings.js';

export interface TrainingDataOptions extends QuerySettings {
  /** Whether queries that are documents are kept from finding themselves; see `ownDocuments`. Default `auto`. */
  excludeSelf?: SelfExclusion;
  /** How texts become words where hard negatives are searched for. Default `auto`. */
  analyzer?: AnalyzerChoice;
  seed?: number;
}

export interface TrainingData {
  sft: TrainingQuery[];
  rl: TrainingQuery[];
  /** Text of a document as it is embedded. */
  document: (id: string) => string;
  negatives: NegativeSource;
  /** How texts become words. Default `auto`. */
  analyzer?: AnalyzerChoice;
  /** The documents that reasoning targets are made from. Default: those that answer the queries. */
  corpus?: readonly string[];
}

/** The document without its title, as positive of the title: an id that no corpus has. */
const bodyOf = (id: string) => `${id}\u0000body`;

/** Queries of both stages, never the same query in both. @throws InputError where a split is missing or shared. */
export function trainingData(collection: Collection, options: TrainingDataOptions = {}): TrainingData {
  const { sft: judged, rl } = stageQueries(collection, options);
  const { analyzer = 'auto' } = options;
  const texts = new Map(collection.corpus.map((document) => [document.id, documentText(document)]));
  const titles: TrainingQuery[] = [];
  if (options.titlePairs ?? false) {
    for (const { query, positive, text } of titlePairs(collection.corpus)) {
      const body = bodyOf(positive);
      texts.set(body, text);
      const relevant = new Map([
        [positive, 1],
        [body, 1],
      ]);
      titles.push({ id: `title ${positive}`, text: query, relevant, positives: [body] });
    }
  }
  const first = [...judged.map((query) => withBodies(query, texts)), ...titles];
  const queries = withNoNegatives([...first, ...rl], sameTexts(textsOf(texts, [...first, ...rl])));
  return {
    sft: queries.slice(0, first.length),
    rl: queries.slice(first.length),
    document: (id) => {
      const text = texts.get(id);
      if (text === undefined) throw new RangeError(`no document ${id} in the collection`);
      return text;
    },
    negatives: lexicalNegatives(collection.corpus, {
      text: (id) => texts.get(id),
      analyzer,
    }),
    analyzer,
    corpus: collection.corpus.map(({ id }) => id),
  };
}

/** Of documents by their ids, of queries by `queryKey`. */
function* textsOf(
  documents: ReadonlyMap<string, string>,
  queries: readonly TrainingQuery[],
): Generator<readonly [string, string]> {
  yield* documents;
  for (const { id, text } of queries) yield [queryKey(id), text];
}

/** What answers the query does so without its title too, and is no negative where it is a title's positive. */
function withBodies(query: TrainingQuery, texts: ReadonlyMap<string, string>): TrainingQuery {
  const bodies = [...query.relevant].flatMap(([id, grade]) =>
    texts.has(bodyOf(id)) ? [[bodyOf(id), grade] as const] : [],
  );
  if (bodies.length === 0) return query;
  return { ...query, relevant: new Map([...query.relevant, ...bodies]), positives: positivesOf(query) };
}

function stageQueries(
  collection: Collection,
  { sftSplit, rlSplit, sftShare = 0.5, seed = 0, excludeSelf = 'auto' }: TrainingDataOptions,
): { sft: TrainingQuery[]; rl: TrainingQuery[] } {
  const has = (split: string) => collection.qrels.has(split);
  const first = sftSplit ?? (has('sft') ? 'sft' : 'train');
  const second = rlSplit ?? (has('rl') ? 'rl' : 'train');
  if (first === second) {
    const all = randomStream(seed, 'stages').shuffle(trainingQueries(collection, first, excludeSelf));
    const cut = Math.round(all.length * sftShare);
    return { sft: all.slice(0, cut), rl: all.slice(cut) };
  }
  const [sft, rl] = [first, second].map((split) => trainingQueries(collection, split, excludeSelf)) as [
    TrainingQuery[],
    TrainingQuery[],
  ];
  const known = new Set(sft.map(({ id }) => id));
  const shared = rl.find(({ id }) => known.has(id));
  if (shared !== undefined) {
    throw new InputError({
      source: `split ${second}`,
      field: shared.id,
      expected: `queries that are not in the split ${first} of stage 1`,
      found: 'one that is',
      remedy: 'Rewards start saturated on queries seen in stage 1.',
    });
  }
  return { sft, rl };
}
