/**
 * The rows of an index on disk, in a folder of append-only files: `vectors.f32` (little-endian float32),
 * `documents.jsonl` (one document a line, in the order of the vectors) and `commits.jsonl`, which says how much of them
 * counts. A row keeps its number; removing one leaves it in the files. So whoever opened the log earlier keeps reading
 * what it was then.
 */
import { type FileHandle, open, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openFile, readChecked, readFully, writeChecked } from '../run/checked-files.js';
import { InputError } from '../run/errors.js';
import { parseJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { type Commit, commitLine, readCommits } from './commits.js';
import { documentSchema, type IndexedDocument, isDocument } from './documents.js';
import type { VectorIndex } from './types.js';
import { refuseWrongLengths } from './unit-vectors.js';

export const VECTORS_FILE = 'vectors.f32';
export const DOCUMENTS_FILE = 'documents.jsonl';
export const COMMITS_FILE = 'commits.jsonl';
const FILES = [VECTORS_FILE, DOCUMENTS_FILE, COMMITS_FILE] as const;

/** Files are written and read in pieces of about this many bytes. */
export const PIECE_BYTES = 1 << 24;
const NEWLINE = 10;

/** What is in a log. */
export interface RowCounts {
  /** Rows, including removed ones. */
  rows: number;
  removed: number;
  commits: number;
  /** Bytes that count, by file. */
  files: Record<(typeof FILES)[number], number>;
}

/** The counts of a log that nobody has open. @throws InputError if its commits cannot be read. */
export async function countRows(folder: string): Promise<RowCounts> {
  const { commits, bytes } = await readCommits(join(folder, COMMITS_FILE));
  const sum = (of: (commit: Commit) => number | undefined) =>
    commits.reduce((total, commit) => total + (of(commit) ?? 0), 0);
  return {
    rows: sum(({ added }) => added?.rows),
    removed: sum(({ removed }) => removed?.length),
    commits: commits.length,
    files: {
      [VECTORS_FILE]: sum(({ added }) => added?.vectors.bytes),
      [DOCUMENTS_FILE]: sum(({ added }) => added?.documents.bytes),
      [COMMITS_FILE]: bytes,
    },
  };
}

export class RowLog {
  readonly folder: string;
  readonly #dimension: number;
  readonly #documents: FileHandle;
  #writers: readonly [vectors: FileHandle, documents: FileHandle, commits: FileHandle] | undefined;
  /** Start of each row's line, and finally the end of the last one. */
  #offsets = new Float64Array(1);
  #rows = 0;
  #commits = 0;
  #commitBytes = 0;

  private constructor(folder: string, dimension: number, documents: FileHandle) {
    this.folder = folder;
    this.#dimension = dimension;
    this.#documents = documents;
  }

  /** Creates an empty log in an empty folder and opens it. */
  static async create(folder: string, dimension: number): Promise<RowLog> {
    for (const name of FILES) await writeFile(join(folder, name), '', { flag: 'wx' });
    return RowLog.open(folder, dimension);
  }

  /** Opens a log, which `replay` then reads. @throws InputError if there is none. */
  static async open(folder: string, dimension: number): Promise<RowLog> {
    return new RowLog(folder, dimension, await openFile(join(folder, DOCUMENTS_FILE)));
  }

  /** Number of rows, including removed ones. */
  get rows(): number {
    return this.#rows;
  }

  get commits(): number {
    return this.#commits;
  }

  /** Whether nobody else has changed the log since it was read. */
  async isCurrent(): Promise<boolean> {
    return (await stat(join(this.folder, COMMITS_FILE))).size === this.#commitBytes;
  }

  /**
   * Reads the log, checking every byte, and makes its changes to an empty index. Called once.
   * @throws InputError naming the file that is damaged.
   */
  async replay(index: VectorIndex): Promise<void> {
    const { commits, bytes } = await readCommits(join(this.folder, COMMITS_FILE));
    const path = join(this.folder, VECTORS_FILE);
    const vectors = await openFile(path);
    try {
      this.#reserve(commits.reduce((sum, { added }) => sum + (added?.rows ?? 0), 0));
      for (const commit of commits) await this.#replay(commit, vectors, path, index);
    } finally {
      await vectors.close();
    }
    this.#commits = commits.length;
    this.#commitBytes = bytes;
  }

  /** The documents of rows. Neighbouring rows are read together. @throws InputError if a line is not a document. */
  async documents(rows: readonly number[]): Promise<IndexedDocument[]> {
    const parts: Promise<IndexedDocument[]>[] = [];
    for (let i = 0; i < rows.length; ) {
      const first = rows[i] as number;
      let end = first + 1;
      i++;
      while (rows[i] === end && this.#offset(end) - this.#offset(first) < PIECE_BYTES) {
        end++;
        i++;
      }
      parts.push(this.#read(first, end));
    }
    return (await Promise.all(parts)).flat();
  }

  /**
   * Appends rows, removes others, and returns when that is on disk. The caller has the right to write, and the
   * log is current.
   * @param vectors [documents * dimension]
   */
  async append(
    documents: readonly IndexedDocument[],
    vectors: Float32Array,
    removed: readonly number[],
  ): Promise<void> {
    const writers = await this.#openWriters();
    const [vectorFile, documentFile, commitFile] = writers;
    const vectorBytes = this.#rows * this.#rowBytes;
    const documentBytes = this.#offset(this.#rows);
    // An interrupted change may have left more.
    await vectorFile.truncate(vectorBytes);
    await documentFile.truncate(documentBytes);
    await commitFile.truncate(this.#commitBytes);
    const commit: Commit = {};
    const ends: number[] = [];
    if (documents.length > 0) {
      commit.added = {
        rows: documents.length,
        vectors: await writeChecked(vectorFile, vectorBytes, pieces(vectors)),
        documents: await writeChecked(documentFile, documentBytes, lines(documents, documentBytes, ends)),
      };
      await Promise.all([vectorFile.datasync(), documentFile.datasync()]);
    }
    if (removed.length > 0) commit.removed = [...removed];
    const line = commitLine(commit);
    await writeChecked(commitFile, this.#commitBytes, [line]);
    await commitFile.datasync();
    this.#reserve(this.#rows + documents.length);
    this.#offsets.set(ends, this.#rows + 1);
    this.#rows += documents.length;
    this.#commits++;
    this.#commitBytes += line.length;
  }

  async close(): Promise<void> {
    for (const file of [this.#documents, ...(this.#writers ?? [])]) await file.close();
  }

  get #rowBytes(): number {
    return this.#dimension * Float32Array.BYTES_PER_ELEMENT;
  }

  #offset(row: number): number {
    return this.#offsets[row] as number;
  }

  async #openWriters() {
    this.#writers ??= await Promise.all([
      open(join(this.folder, VECTORS_FILE), 'r+'),
      open(join(this.folder, DOCUMENTS_FILE), 'r+'),
      open(join(this.folder, COMMITS_FILE), 'r+'),
    ]);
    return this.#writers;
  }

  async #replay(
    { added, removed = [] }: Commit,
    vectors: FileHandle,
    path: string,
    index: VectorIndex,
  ): Promise<void> {
    if (added !== undefined) {
      await this.#replayVectors(added, vectors, path, index);
      await this.#replayLines(added);
      this.#rows += added.rows;
    }
    for (const row of removed) {
      if (row < this.#rows && index.has(row)) {
        await index.remove(row);
        continue;
      }
      const source = join(this.folder, COMMITS_FILE);
      throw new InputError({
        source,
        expected: 'rows that are there to be removed',
        found: `the row ${row}`,
      });
    }
  }

  async #replayVectors(
    { rows, vectors: digest }: NonNullable<Commit['added']>,
    file: FileHandle,
    path: string,
    index: VectorIndex,
  ): Promise<void> {
    const rowBytes = this.#rowBytes;
    if (digest.bytes !== rows * rowBytes) {
      const expected = `${rows * rowBytes} bytes for ${rows} vectors of dimension ${this.#dimension}`;
      throw new InputError({ source: path, expected, found: `${digest.bytes} in a commit` });
    }
    const piece = Math.max(1, Math.floor(PIECE_BYTES / rowBytes)) * rowBytes;
    const pending: (number | Promise<number>)[] = [];
    await readChecked(file, { path, from: this.#rows * rowBytes, digest }, piece, (bytes) => {
      const length = bytes.length / Float32Array.BYTES_PER_ELEMENT;
      const matrix = new Float32Array(bytes.buffer, bytes.byteOffset, length);
      refuseWrongLengths(matrix, this.#dimension, path, index.size);
      pending.push(index.append(matrix));
    });
    await Promise.all(pending);
  }

  async #replayLines({ rows, documents: digest }: NonNullable<Commit['added']>): Promise<void> {
    const path = join(this.folder, DOCUMENTS_FILE);
    const from = this.#offset(this.#rows);
    let ends = 0;
    let position = from;
    await readChecked(this.#documents, { path, from, digest }, PIECE_BYTES, (piece) => {
      for (let at = piece.indexOf(NEWLINE); at >= 0; at = piece.indexOf(NEWLINE, at + 1)) {
        ends++;
        if (ends <= rows) this.#offsets[this.#rows + ends] = position + at + 1;
      }
      position += piece.length;
    });
    if (ends === rows && this.#offset(this.#rows + rows) === position) return;
    const found = ends === rows ? 'more after the last' : `${ends}`;
    throw new InputError({ source: path, field: 'lines', expected: `${rows} in a commit`, found });
  }

  async #read(first: number, end: number): Promise<IndexedDocument[]> {
    const path = join(this.folder, DOCUMENTS_FILE);
    const start = this.#offset(first);
    const bytes = Buffer.alloc(this.#offset(end) - start);
    await readFully(this.#documents, bytes, start, path);
    return Array.from({ length: end - first }, (_, i) => {
      const row = first + i;
      const text = bytes.toString('utf8', this.#offset(row) - start, this.#offset(row + 1) - start - 1);
      const source = `${path}:${row + 1}`;
      const document = parseJson(text, { source });
      return isDocument(document) ? document : validate(documentSchema, document, source);
    });
  }

  /** Makes room for the offsets of so many rows. */
  #reserve(rows: number): void {
    if (rows < this.#offsets.length) return;
    const larger = new Float64Array(Math.max(rows + 1, this.#rows === 0 ? 0 : 2 * this.#offsets.length));
    larger.set(this.#offsets.subarray(0, this.#rows + 1));
    this.#offsets = larger;
  }
}

function* pieces(vectors: Float32Array): Generator<Uint8Array> {
  const bytes = new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength);
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    yield bytes.subarray(start, start + PIECE_BYTES);
  }
}

/** The lines of documents in large pieces; `ends` receives the byte at which each ends, in a file that has `from`. */
function* lines(documents: readonly IndexedDocument[], from: number, ends: number[]): Generator<Uint8Array> {
  let piece = '';
  let position = from;
  for (const document of documents) {
    const line = `${JSON.stringify(document)}\n`;
    position += Buffer.byteLength(line);
    ends.push(position);
    piece += line;
    if (piece.length < PIECE_BYTES) continue;
    yield Buffer.from(piece);
    piece = '';
  }
  yield Buffer.from(piece);
}
