/**
 * Collections in the BEIR layout (Thakur et al. 2021, arXiv 2104.08663): `corpus.jsonl` with `{_id, title, text}` and
 * other fields, `queries.jsonl` with `{_id, text}`, `qrels/<split>.tsv` with query id, document id and grade.
 */
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import {
  describeReadFailure,
  exists,
  type FolderKind,
  publishFolder,
  writeLinesAtomic,
} from '../run/files.js';
import { validate } from '../run/validate.js';
import { isBlank } from './blank.js';
import { describeValue, idText, parseJsonLine, readLines, stringField } from './lines.js';
import { loadBeirQrels, qrelsLines, refuseUnjudged } from './qrels.js';
import type { Collection, Document, Qrels, Query } from './types.js';

const LONE_SURROGATE = /\p{Cs}/u;

export interface LoadBeirOptions {
  /** The splits to load; default: every `qrels/*.tsv`. */
  splits?: string[];
  /**
   * Keep judgements of missing documents and queries (default false: they are an error). They count as in trec_eval:
   * the document stays in the ideal ranking, the query scores 0.
   */
  allowMissing?: boolean;
}

const loadOptions = z.strictObject({
  splits: z.array(z.string()).optional(),
  allowMissing: z.boolean().default(false),
});

/**
 * Reads a BEIR folder. A folder without `qrels` gives a collection without judgements.
 * @throws InputError if a row is malformed (naming file, line and field), no document has a text, or there is no query.
 */
export async function loadBeir(folder: string, options: LoadBeirOptions = {}): Promise<Collection> {
  const { splits, allowMissing } = validate(loadOptions, options, 'loadBeir options');
  const found = await findSplits(folder);
  const wanted = splits ?? found;
  for (const split of wanted) {
    if (found.includes(split)) continue;
    throw new InputError({
      source: join(folder, 'qrels'),
      field: `${split}.tsv`,
      expected: 'a split of the collection',
      found: found.length === 0 ? 'no splits at all' : `only the splits ${found.join(', ')}`,
    });
  }
  const corpus = await loadCorpus(join(folder, 'corpus.jsonl'));
  const queries = await loadQueries(join(folder, 'queries.jsonl'));
  const documents = new Set(corpus.map((document) => document.id));
  const qrels = new Map<string, Qrels>();
  for (const split of wanted) {
    const path = join(folder, 'qrels', `${split}.tsv`);
    qrels.set(split, await loadBeirQrels(path, { queries, documents, allowMissing }));
  }
  return { corpus, queries, qrels };
}

export interface LoadCorpusOptions {
  /** Called with every document and its `path:line`; throw to reject a document. */
  check?: (document: Document, source: string) => void;
}

/**
 * Reads a `corpus.jsonl`. A text may be empty (BEIR's own collections hold such rows), but an id may not. An id may be
 * a whole number, which is read as its digits. Fields other than `_id`, `title` and `text` are kept, except `id`,
 * because a document holds its `_id` there.
 * @throws InputError if a row is malformed, an id occurs twice, or no document has a text.
 */
export async function loadCorpus(path: string, options: LoadCorpusOptions = {}): Promise<Document[]> {
  const corpus: Document[] = [];
  const seen = new Map<string, string>();
  for await (const line of readLines(path)) {
    const row = parseJsonLine(line);
    const id = newId(row, line.source, seen);
    const text = stringField(row, 'text', line.source, 'allow-empty');
    const title = row.title == null ? '' : stringField(row, 'title', line.source, 'allow-empty');
    const { _id, id: _taken, title: _title, text: _text, ...metadata } = row;
    const document: Document = { id, ...(title !== '' && { title }), text, ...metadata };
    options.check?.(document, line.source);
    corpus.push(document);
  }
  assertTexts(corpus, path);
  return corpus;
}

/** @throws InputError if no document has a text. */
export function assertTexts(corpus: readonly Document[], source: string): void {
  if (corpus.some((document) => !isBlank(documentText(document)))) return;
  const found = corpus.length === 0 ? 'none' : `${corpus.length} whose title and text are empty`;
  const expected = corpus.length === 0 ? 'at least one document' : 'at least one document with a text';
  throw new InputError({ source, expected, found });
}

/**
 * Reads a `queries.jsonl`.
 * @throws InputError if a row is malformed, a text is empty, an id occurs twice, or there is no query.
 */
export async function loadQueries(path: string): Promise<Map<string, Query>> {
  const queries = new Map<string, Query>();
  const seen = new Map<string, string>();
  for await (const line of readLines(path)) {
    const row = parseJsonLine(line);
    const id = newId(row, line.source, seen);
    const text = stringField(row, 'text', line.source, 'allow-empty');
    refuseEmptyQuery(text, line.source);
    queries.set(id, { id, text });
  }
  if (queries.size === 0)
    throw new InputError({ source: path, expected: 'at least one query', found: 'none' });
  return queries;
}

function refuseEmptyQuery(text: string, source: string): void {
  if (!isBlank(text)) return;
  throw new InputError({
    source,
    field: 'text',
    expected: 'a string that is not empty',
    found: describeValue(text),
    remedy: 'Leave out the query and its judgements.',
  });
}

export interface SaveBeirOptions {
  /** Replace an existing collection, but nothing else, once the new one is complete. Default false. */
  overwrite?: boolean;
}

const saveOptions = z.strictObject({ overwrite: z.boolean().default(false) });

/** What `saveBeir` replaces. */
const COLLECTION_FOLDER: FolderKind = {
  name: 'a collection',
  is: async (folder) =>
    (await exists(join(folder, 'corpus.jsonl'))) && (await exists(join(folder, 'queries.jsonl'))),
};

/**
 * Writes a BEIR folder atomically. Loading it gives an equal collection.
 * @throws InputError if the folder holds something else, or holds a collection and `overwrite` is not set. Also if the
 *   folder could not be loaded again: no document with a text, no query, a query without text, a split without
 *   judgements, or ids and split names that the layout cannot hold.
 */
export async function saveBeir(
  folder: string,
  collection: Collection,
  options: SaveBeirOptions = {},
): Promise<void> {
  const { overwrite } = validate(saveOptions, options, 'saveBeir options');
  refuseUnusableIds('document', collection.corpus);
  refuseUnusableIds('query', collection.queries.values());
  for (const { id, text } of collection.queries.values())
    refuseEmptyQuery(text, `collection: query ${describeValue(id)}`);
  assertTexts(collection.corpus, 'collection');
  if (collection.queries.size === 0)
    throw new InputError({ source: 'collection', expected: 'at least one query', found: 'none' });
  for (const [split, qrels] of collection.qrels) checkWritable(split, qrels);
  await publishFolder(
    folder,
    async (temporary) => {
      await writeLinesAtomic(join(temporary, 'corpus.jsonl'), corpusLines(collection.corpus));
      await writeLinesAtomic(join(temporary, 'queries.jsonl'), queryLines(collection.queries));
      await mkdir(join(temporary, 'qrels'));
      for (const [split, qrels] of collection.qrels) {
        await writeLinesAtomic(join(temporary, 'qrels', `${split}.tsv`), qrelsLines(qrels));
      }
    },
    { replace: overwrite, kind: COLLECTION_FOLDER },
  );
}

/** The text of a document for encoding: title, a space, text, as in BEIR. */
export function documentText(document: Document): string {
  return `${document.title ?? ''} ${document.text}`.trim();
}

async function findSplits(folder: string): Promise<string[]> {
  const names = await readdir(join(folder, 'qrels')).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    const found = describeReadFailure(error);
    throw new InputError({ source: join(folder, 'qrels'), expected: 'a folder of judgements', found });
  });
  return names
    .filter((name) => name.endsWith('.tsv') && !name.startsWith('.'))
    .map((name) => name.slice(0, -'.tsv'.length))
    .sort();
}

function newId(row: Record<string, unknown>, source: string, seen: Map<string, string>): string {
  if (row._id === undefined) {
    const found = `the fields ${Object.keys(row).slice(0, 6).map(describeValue).join(', ')}`;
    throw new InputError({ source, field: '_id', expected: 'a string that is not empty', found });
  }
  const id = stringField({ _id: idText(row._id) }, '_id', source, 'not-empty');
  if (LONE_SURROGATE.test(id)) {
    const expected = 'Unicode text, because a file cannot hold half of a surrogate pair';
    throw new InputError({ source, field: '_id', expected, found: describeValue(id) });
  }
  const earlier = seen.get(id);
  if (earlier !== undefined) {
    const found = `"${id}" again, first at ${earlier}`;
    throw new InputError({ source, field: '_id', expected: 'an id used once', found });
  }
  seen.set(id, source);
  return id;
}

/** @throws InputError if `newId` would reject an id when it is read again. */
function refuseUnusableIds(kind: 'document' | 'query', rows: Iterable<{ id: string }>): void {
  const seen = new Map<string, string>();
  for (const { id } of rows) newId({ _id: id }, `collection: ${kind} ${seen.size}`, seen);
}

function checkWritable(split: string, qrels: Qrels): void {
  if (!/^\w[\w.-]*$/.test(split)) {
    const expected = 'letters, digits, dots, dashes and underscores';
    throw new InputError({
      source: 'collection',
      field: 'split name',
      expected,
      found: describeValue(split),
    });
  }
  const source = `collection: qrels of ${split}`;
  refuseUnjudged(qrels, source);
  for (const [query, judgements] of qrels) {
    for (const id of [query, ...judgements.keys()]) {
      if (id !== '' && !/[\t\r\n]/.test(id)) continue;
      throw new InputError({ source, expected: 'ids without tabs or line ends', found: describeValue(id) });
    }
  }
}

function* corpusLines(corpus: readonly Document[]): Generator<string> {
  for (const { id, title = '', text, _id: _taken, ...metadata } of corpus) {
    yield JSON.stringify({ _id: id, title, text, ...metadata });
  }
}

function* queryLines(queries: ReadonlyMap<string, Query>): Generator<string> {
  for (const { id, text } of queries.values()) yield JSON.stringify({ _id: id, text });
}
