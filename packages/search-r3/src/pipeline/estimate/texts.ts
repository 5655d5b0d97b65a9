/** A sample of the texts of a collection, read without reading the collection: enough for lengths and counts. */
import { open, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { atlasCollection, documentText, generateAtlas } from '../../dataset/index.js';
import { evenly, refuseUnreadable } from '../../run/index.js';
import { ATLAS } from '../settings.js';

export interface TextSample {
  /** The texts are those of the built-in world. */
  atlas: boolean;
  documents: readonly string[];
  queries: readonly string[];
  /** Of the whole collection, estimated from the sizes of its files. */
  count: { documents: number; queries: number };
  /** Bytes of all texts. */
  bytes: number;
}

/** Places in a file from which lines are read, and bytes read at each. */
const PLACES = 16;
const BYTES = 32_768;
/** Texts of a sample. */
const MOST = 256;

/** @throws InputError for a folder whose files cannot be read. */
export async function sampleTexts(data: string): Promise<TextSample> {
  if (data === ATLAS) {
    const { corpus, queries } = atlasCollection(generateAtlas(), 0);
    const texts = {
      documents: corpus.map(documentText),
      queries: [...queries.values()].map(({ text }) => text),
    };
    const bytes = [...texts.documents, ...texts.queries].reduce((sum, { length }) => sum + length, 0);
    return {
      atlas: true,
      documents: evenly(texts.documents, MOST),
      queries: evenly(texts.queries, MOST),
      count: { documents: texts.documents.length, queries: texts.queries.length },
      bytes,
    };
  }
  const documents = await sampleLines(join(data, 'corpus.jsonl'));
  const queries = await sampleLines(join(data, 'queries.jsonl'));
  return {
    atlas: false,
    documents: documents.rows.map(textOf),
    queries: queries.rows.map(textOf),
    count: { documents: documents.count, queries: queries.count },
    bytes: documents.bytes + queries.bytes,
  };
}

const string = (value: unknown) => (typeof value === 'string' ? value : '');

/** As `documentText` joins title and text. */
const textOf = ({ title, text }: Record<string, unknown>): string =>
  documentText({ id: '', title: string(title), text: string(text) });

interface LineSample {
  rows: readonly Record<string, unknown>[];
  count: number;
  bytes: number;
}

/** Whole lines from places spread over the file. Lines that are no JSON objects are left to those who read them all. */
async function sampleLines(path: string): Promise<LineSample> {
  const { size } = await stat(path).catch((error: unknown) => refuseUnreadable(path, error));
  const file = await open(path).catch((error: unknown) => refuseUnreadable(path, error));
  try {
    const rows: Record<string, unknown>[] = [];
    let [read, lines] = [0, 0];
    const places = size <= PLACES * BYTES ? 1 : PLACES;
    const length = places === 1 ? size : BYTES;
    for (let i = 0; i < places; i++) {
      const start = Math.floor((i * (size - length)) / Math.max(1, places - 1));
      const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, start);
      const text = buffer.toString('utf8', 0, bytesRead);
      // Cut lines at both ends are no rows, unless the file ends there.
      const from = start === 0 ? 0 : text.indexOf('\n') + 1;
      const to = start + bytesRead >= size ? text.length : text.lastIndexOf('\n') + 1;
      for (const line of text.slice(from, to).split('\n')) {
        if (line.trim() === '') continue;
        read += Buffer.byteLength(line) + 1;
        lines++;
        const row = parsed(line);
        if (row !== undefined) rows.push(row);
      }
    }
    const count = lines === 0 ? 0 : Math.max(lines, Math.round((size * lines) / read));
    return { rows: evenly(rows, MOST), count, bytes: size };
  } finally {
    await file.close();
  }
}

function parsed(line: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}
