/** Training examples without judgements: titles as queries, and files of (query, positive, negative) triples. */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import { documentText } from './beir.js';
import { idText, type Line, parseJsonLine, readLines, stringField } from './lines.js';
import type { Collection, Document } from './types.js';

/** A title used as a query, and its document. */
export interface TitlePair {
  /** The title. */
  query: string;
  /** The id of the document. */
  positive: string;
  /**
   * The document's text without the title. Use this as the positive in training: `documentText` starts with the title,
   * so the model would only learn to match words.
   */
  text: string;
}

/** One pair per document that has both a title and a text, in corpus order. */
export function titlePairs(corpus: readonly Document[]): TitlePair[] {
  return corpus.flatMap(({ id, title = '', text }) =>
    title.trim() === '' || text.trim() === '' ? [] : [{ query: title, positive: id, text }],
  );
}

/** A text, and its id if it comes from the collection. */
export interface Passage {
  id?: string;
  text: string;
}

export interface Triple {
  query: Passage;
  positive: Passage;
  negative: Passage;
}

export interface LoadTriplesOptions {
  /** Where `query_id`, `positive_id` and `negative_id` are looked up. */
  collection?: Pick<Collection, 'corpus' | 'queries'>;
}

const loadOptions = z.strictObject({
  collection: z.custom<LoadTriplesOptions['collection']>().optional(),
});

/**
 * Reads JSONL rows with the texts `query`, `positive` and `negative`. Each may be an id of the collection instead:
 * `query_id`, `positive_id`, `negative_id`. A document's text is then its `documentText`.
 * @throws InputError naming file, line and field.
 */
export async function loadTriples(path: string, options: LoadTriplesOptions = {}): Promise<Triple[]> {
  const { collection } = validate(loadOptions, options, 'loadTriples options');
  const documents = new Map(collection?.corpus.map((document) => [document.id, documentText(document)]));
  const queries = new Map([...(collection?.queries.values() ?? [])].map((query) => [query.id, query.text]));
  const triples: Triple[] = [];
  for await (const line of readLines(path)) {
    const row = parseJsonLine(line);
    triples.push({
      query: passage(row, 'query', queries, line),
      positive: passage(row, 'positive', documents, line),
      negative: passage(row, 'negative', documents, line),
    });
  }
  if (triples.length === 0)
    throw new InputError({ source: path, expected: 'at least one triple', found: 'none' });
  return triples;
}

function passage(
  row: Record<string, unknown>,
  field: string,
  texts: Map<string, string>,
  line: Line,
): Passage {
  const idField = `${field}_id`;
  if (row[idField] === undefined) return { text: stringField(row, field, line.source, 'not-empty') };
  if (row[field] !== undefined) {
    throw new InputError({
      source: line.source,
      field,
      expected: `either ${field} or ${idField}`,
      found: 'both',
    });
  }
  const id = stringField({ [idField]: idText(row[idField]) }, idField, line.source, 'not-empty');
  const text = texts.get(id);
  if (text === undefined) {
    const expected = 'an id of the given collection';
    throw new InputError({ source: line.source, field: idField, expected, found: `"${id}"` });
  }
  return { id, text };
}
