/**
 * Hard negatives: documents that BM25 finds for a query or for its positive, searched for once, without a model. A
 * document that answers a query, or has the same text as one that does, is never a negative of it.
 */
import { type Document, documentText } from '../dataset/index.js';
import { type AnalyzerChoice, Bm25Index } from '../evaluate/index.js';
import { mayBeNegative, type NegativeSource, type TrainingQuery } from './data.js';

const QUERY = '\u0000query ';

/** The name under which `sameTexts` is to know a query: no document has it as its id. */
export const queryKey = (id: string): string => QUERY + id;

/**
 * Adds `noNegatives` to queries: the documents with the text of the query, and those with the text of a document that
 * answers it or that is its own document. Queries of equal texts share their answers.
 * @param same the ids with the text of an id, of documents and of queries by `queryKey`; see `sameTexts`.
 */
export function withNoNegatives(
  queries: readonly TrainingQuery[],
  same: (id: string) => readonly string[] | undefined,
): TrainingQuery[] {
  const byKey = new Map(queries.map((query) => [queryKey(query.id), query]));
  // Many documents may have one title: what its queries share is kept once.
  const shared = new Map<readonly string[], ReadonlySet<string>>();
  return queries.map((query) => {
    const alike = same(queryKey(query.id)) ?? [];
    const askers = alike.flatMap((id) => byKey.get(id) ?? []);
    if (askers.length < 2) {
      const others = [...answersOf([query], alike, same)].filter((id) => mayBeNegative(query, id));
      if (others.length === 0) return query;
      return { ...query, noNegatives: new Set([...(query.noNegatives ?? []), ...others]) };
    }
    const noNegatives = shared.get(alike) ?? answersOf(askers, alike, same);
    shared.set(alike, noNegatives);
    return { ...query, noNegatives };
  });
}

/** Whatever answers one of the queries or has their text, and the documents of equal texts. */
function answersOf(
  queries: readonly TrainingQuery[],
  alike: readonly string[],
  same: (id: string) => readonly string[] | undefined,
): Set<string> {
  const answers = new Set(alike);
  for (const { relevant, own, noNegatives = [] } of queries) {
    for (const id of [...relevant.keys(), ...(own === undefined ? [] : [own]), ...noNegatives])
      answers.add(id);
  }
  for (const id of [...answers]) for (const other of same(id) ?? []) answers.add(other);
  for (const id of answers) if (id.startsWith(QUERY)) answers.delete(id);
  return answers;
}

export interface MiningOptions {
  /** Candidates per query from each side. Default 10. */
  candidates?: number;
  /** Text of a positive by its id. Default: that of the document in the corpus. */
  text?: (id: string) => string | undefined;
  /** How texts become the terms that are searched for. Default `auto`. */
  analyzer?: AnalyzerChoice;
}

function textsIn(corpus: readonly Document[]): (id: string) => string | undefined {
  const texts = new Map(corpus.map((document) => [document.id, documentText(document)]));
  return (id) => texts.get(id);
}

/** Searches for candidates when they are first needed, per query and positive, and draws one of them uniformly. */
export function lexicalNegatives(corpus: readonly Document[], options: MiningOptions = {}): NegativeSource {
  const { candidates = 10, text: textOf = textsIn(corpus), analyzer = 'auto' } = options;
  const index = Bm25Index.build(corpus, { analyzer });
  const near = new Map<string, string[]>();
  const search = (key: string, text: string, query: TrainingQuery): string[] => {
    const known = near.get(key);
    if (known !== undefined) return known;
    const { relevant, own, noNegatives } = query;
    const excluded = relevant.size + (own === undefined ? 0 : 1) + (noNegatives?.size ?? 0);
    const found = index
      .search(text, candidates + excluded)
      .map(({ id }) => id)
      .filter((id) => mayBeNegative(query, id))
      .slice(0, candidates);
    near.set(key, found);
    return found;
  };
  return (query, positive, random) => {
    const pool =
      random.uniform() < 0.5
        ? search(`query ${query.id}`, query.text, query)
        : search(`document ${query.id} ${positive}`, textOf(positive) ?? '', query);
    return pool.length === 0 ? undefined : random.choice(pool);
  };
}
