/**
 * Queries that are documents of the collection, as in BEIR's ArguAna and Quora. Every system would rank such a query's
 * own document first, so BEIR's evaluation drops the document with the query's id (`ignore_identical_ids`).
 */
import { documentText } from './beir.js';
import { comparableText } from './same-text.js';
import type { Collection } from './types.js';

/**
 * When the document with a query's id is left out of its ranking. `auto`: if both have the same text, or if no
 * judgement of the collection pairs a query with its own id (such a judgement shows that ids coincide by accident, as
 * serial numbers do). `always`: whenever ids are the same, as in BEIR. `never`: never.
 */
export const SELF_EXCLUSIONS = ['auto', 'always', 'never'] as const;
export type SelfExclusion = (typeof SELF_EXCLUSIONS)[number];

/** The ids of the queries whose own document is left out of their ranking. */
export function ownDocuments(
  { corpus, queries, qrels }: Collection,
  choice: SelfExclusion = 'auto',
): ReadonlySet<string> {
  if (choice === 'never') return new Set();
  const shared = corpus.filter(({ id }) => queries.has(id));
  const byId =
    choice === 'always' ||
    ![...qrels.values()].some((judged) => [...judged].some(([query, grades]) => grades.has(query)));
  const own = shared.filter((document) => {
    if (byId) return true;
    const query = comparableText(queries.get(document.id)?.text ?? '');
    return query === comparableText(documentText(document)) || query === comparableText(document.text);
  });
  return new Set(own.map(({ id }) => id));
}
