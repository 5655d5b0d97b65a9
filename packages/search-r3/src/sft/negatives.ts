/**
 * Hard negatives by lexical likeness: documents that look like the query, and documents that look like its answer. They
 * are mined once with BM25, which needs no model; documents judged relevant are never among them.
 */
import { type Document, documentText } from '../dataset/index.js';
import { Bm25Index } from '../evaluate/index.js';
import type { NegativeSource, TrainingQuery } from './data.js';

export interface MiningOptions {
  /** Candidates per query from each side. Default 10. */
  candidates?: number;
  /** Text of a positive by its id. Default: that of the document in the corpus. */
  text?: (id: string) => string | undefined;
}

function textsIn(corpus: readonly Document[]): (id: string) => string | undefined {
  const texts = new Map(corpus.map((document) => [document.id, documentText(document)]));
  return (id) => texts.get(id);
}

/** Mines candidates lazily, per query and positive, and draws one of them uniformly. */
export function lexicalNegatives(corpus: readonly Document[], options: MiningOptions = {}): NegativeSource {
  const { candidates = 10, text: textOf = textsIn(corpus) } = options;
  const index = Bm25Index.build(corpus);
  const near = new Map<string, string[]>();
  const search = (key: string, text: string, excluded: ReadonlySet<string>): string[] => {
    const known = near.get(key);
    if (known !== undefined) return known;
    const found = index
      .search(text, candidates + excluded.size)
      .map(({ id }) => id)
      .filter((id) => !excluded.has(id))
      .slice(0, candidates);
    near.set(key, found);
    return found;
  };
  return (query: TrainingQuery, positive, random) => {
    const relevant = new Set(query.relevant.keys());
    const pool =
      random.uniform() < 0.5
        ? search(`query ${query.id}`, query.text, relevant)
        : search(`document ${query.id} ${positive}`, textOf(positive) ?? '', relevant);
    return pool.length === 0 ? undefined : random.choice(pool);
  };
}
