/**
 * Queries that are documents of the collection (as in BEIR's ArguAna and Quora). Every system would find such a query
 * first, so BEIR's evaluation drops the document with the query's id (`ignore_identical_ids`).
 */
import { documentText } from './beir.js';
import { comparableText } from './same-text.js';
import type { Collection } from './types.js';

/**
 * Whether a query's own document, the one with its id, is left out of its ranking. `auto`: where both have the same text,
 * or where ids are shared and no judgement of the collection pairs a query with its own id. Such a judgement shows that
 * ids coincide by accident, as running numbers do. `always`: wherever ids are shared, as in BEIR. `never`: nowhere.
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
