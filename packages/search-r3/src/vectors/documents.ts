/** The documents of an index, checked before any work is done on them. */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';

/** A document in an index. */
export const documentSchema = z.looseObject({
  id: z.string().min(1),
  title: z.string().optional(),
  text: z.string(),
});

/** A document stored alongside its vector; further fields are metadata, anything that JSON can express. */
export type IndexedDocument = z.output<typeof documentSchema>;

/** Whether the schema accepts a value: faster than the schema, for reading what was checked when it was written. */
export function isDocument(value: unknown): value is IndexedDocument {
  if (typeof value !== 'object' || value === null) return false;
  const { id, title, text } = value as Partial<IndexedDocument>;
  const hasTitle = title === undefined || typeof title === 'string';
  return typeof id === 'string' && id !== '' && typeof text === 'string' && hasTitle;
}

const inputSchema = documentSchema.extend({ title: z.string().nullish() });

/** A document to index; as in BEIR files, `title` may be null. */
export type DocumentInput = z.output<typeof inputSchema>;

/**
 * Checks documents and returns them as an index stores them.
 * @param source name of the list in errors.
 * @throws InputError for a document without id or text, with a duplicate id, or with metadata that JSON cannot hold.
 */
export function checkedDocuments(documents: readonly DocumentInput[], source: string): IndexedDocument[] {
  if (!Array.isArray(documents)) {
    throw new InputError({ source, expected: 'a list of documents', found: typeof documents });
  }
  const rows = new Map<string, number>();
  return documents.map((document, row) => {
    const own = `${source}[${row}]`;
    const { id, title: _title, text: _text, ...metadata } = validate(inputSchema, document, own);
    const first = rows.get(id);
    if (first !== undefined) {
      const found = `"${id}" again, which is ${source}[${first}]`;
      throw new InputError({ source: own, field: 'id', expected: 'a new id', found });
    }
    rows.set(id, row);
    refuseUnwritable(metadata, own);
    return withoutNull(document);
  });
}

function withoutNull(document: DocumentInput): IndexedDocument {
  if (hasNoNull(document)) return document;
  const { title: _, ...rest } = document;
  return rest;
}

const hasNoNull = (document: DocumentInput): document is IndexedDocument => document.title !== null;

/** Serialises the metadata field by field, so that the error can name the field that fails. */
function refuseUnwritable(metadata: Record<string, unknown>, source: string): void {
  for (const [field, value] of Object.entries(metadata)) {
    try {
      JSON.stringify(value);
    } catch (error) {
      // For a cycle, V8 draws the path on further lines.
      const found = (error as Error).message.split('\n')[0] as string;
      throw new InputError({ source, field, expected: 'a value that JSON can hold', found });
    }
  }
}
