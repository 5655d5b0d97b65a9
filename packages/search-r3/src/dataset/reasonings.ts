/** Reasoning that the user brings for queries: a teacher's, or written by hand. JSONL, a query id and a text per line. */
import { InputError } from '../run/errors.js';
import { idText, parseJsonLine, readLines, stringField } from './lines.js';

/** Texts by query id. */
export type Reasonings = Map<string, string>;

/**
 * Reads lines such as `{"query": "12", "reasoning": "..."}`; other fields are ignored.
 * @param known the ids of the collection's queries.
 * @throws InputError naming the line of an unknown or repeated query, and of an empty text.
 */
export async function loadReasonings(path: string, known: { has(id: string): boolean }): Promise<Reasonings> {
  const reasonings: Reasonings = new Map();
  for await (const line of readLines(path)) {
    const row = parseJsonLine(line);
    const id = stringField({ query: idText(row.query) }, 'query', line.source, 'not-empty');
    const refused = (expected: string) =>
      new InputError({ source: line.source, field: 'query', expected, found: id });
    if (!known.has(id)) throw refused('a query of the collection');
    if (reasonings.has(id)) throw refused('each query once');
    reasonings.set(id, stringField(row, 'reasoning', line.source, 'not-empty'));
  }
  if (reasonings.size === 0)
    throw new InputError({ source: path, expected: 'at least one reasoning', found: 'none' });
  return reasonings;
}
