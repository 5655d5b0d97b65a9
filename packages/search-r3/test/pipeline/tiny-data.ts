/** The collection of `../cli/tiny.ts` in memory. */
import { tinyCollection } from '../cli/tiny.js';

export function tinyData() {
  const { corpus, queries, qrels } = tinyCollection();
  const documents = corpus.map(({ _id, title = '', text }) => ({ id: _id, title, text }));
  const split = (rows: [string, string, number][]) => {
    const judged = new Map<string, Map<string, number>>();
    for (const [query, document, grade] of rows) {
      judged.set(query, (judged.get(query) ?? new Map<string, number>()).set(document, grade));
    }
    return judged;
  };
  return {
    corpus: documents,
    queries: new Map(queries.map(({ _id, text }) => [_id, { id: _id, text }])),
    qrels: new Map(Object.entries(qrels).map(([name, rows]) => [name, split(rows)])),
  };
}
