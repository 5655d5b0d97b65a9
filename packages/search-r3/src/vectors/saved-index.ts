/**
 * A saved index: a folder with the documents of a corpus, their embeddings and the fingerprint of the model that made
 * them. `vectors.f32` holds the rows as little-endian float32, `documents.jsonl` one document per line in the same
 * order, `graph.usearch` (optional) a proximity graph of the vectors, and `manifest.json` describes them, with
 * checksums. An open index has its vectors in memory; the documents stay on disk.
 */
import type { FileHandle } from 'node:fs/promises';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import {
  type FileDigest,
  openFile,
  readChecked,
  readCheckedFile,
  readFully,
  writeChecked,
} from '../run/checked-files.js';
import { InputError } from '../run/errors.js';
import { parseJson, publishFolder, writeFileAtomic, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';
import { AnnIndex } from './ann.js';
import { checkedDocuments, type DocumentInput, documentSchema, type IndexedDocument } from './documents.js';
import { ExactIndex } from './exact.js';
import { GRAPH_SETTINGS, writeGraph } from './graph-file.js';
import {
  DOCUMENTS_FILE,
  fingerprintSchema,
  GRAPH_FILE,
  INDEX_FOLDER,
  type IndexFingerprint,
  type IndexManifest,
  MANIFEST_FILE,
  readManifest,
  VECTORS_FILE,
} from './manifest.js';
import type { VectorIndex } from './types.js';

export interface FoundDocument {
  document: IndexedDocument;
  /** Cosine. */
  score: number;
}

export interface IndexContents {
  /** [documents * dimension]: unit rows in the order of the documents. */
  vectors: Float32Array;
  dimension: number;
  /** At least one, with distinct ids. */
  documents: readonly DocumentInput[];
  /** The model that made the vectors. */
  fingerprint: IndexFingerprint;
}

const saveSchema = z.strictObject({
  /** Replace an existing index (and nothing else), which stays until the new one is complete. Default false. */
  overwrite: z.boolean().default(false),
  /** Also build and save a proximity graph: the index opens as an approximate one. Default false. */
  ann: z.boolean().default(false),
});

export type SaveIndexOptions = z.input<typeof saveSchema>;

/** Files are written and read in pieces of about this many bytes. */
const PIECE_BYTES = 1 << 24;
/** Largest deviation of an embedding's length from 1; float32 rounding stays far below it. */
const LENGTH_TOLERANCE = 1e-3;
const NEWLINE = 10;

/**
 * Writes the folder of an index atomically.
 * @throws InputError if the folder holds something other than an index, or an index and `overwrite` is not set, or if
 *   the vectors do not match the documents.
 */
export async function saveIndex(
  folder: string,
  contents: IndexContents,
  options: SaveIndexOptions = {},
): Promise<void> {
  const { overwrite, ann } = validate(saveSchema, options, 'saveIndex options');
  requireLittleEndian();
  const { vectors, dimension } = contents;
  const documents = checkedDocuments(contents.documents, 'saveIndex documents');
  const fingerprint = validate(fingerprintSchema, contents.fingerprint, 'saveIndex fingerprint');
  if (!Number.isSafeInteger(dimension) || dimension < 1 || vectors.length !== documents.length * dimension) {
    throw new InputError({
      source: 'saveIndex',
      field: 'vectors',
      expected: `${documents.length} rows of dimension ${dimension}`,
      found: `${vectors.length} numbers`,
    });
  }
  refuseWrongVectors(vectors, dimension, 'saveIndex', 0);
  await publishFolder(
    folder,
    async (at) => {
      const files = {
        [VECTORS_FILE]: await written(join(at, VECTORS_FILE), pieces(vectors)),
        [DOCUMENTS_FILE]: await written(join(at, DOCUMENTS_FILE), lines(documents)),
        ...(ann && { [GRAPH_FILE]: await writeGraph(join(at, GRAPH_FILE), vectors, dimension) }),
      };
      await writeJsonAtomic(join(at, MANIFEST_FILE), {
        format: 'search-r3-index',
        version: 1,
        count: documents.length,
        dimension,
        dtype: 'f32',
        fingerprint,
        created: new Date().toISOString(),
        files,
        ...(ann && { graph: GRAPH_SETTINGS }),
      } satisfies IndexManifest);
    },
    { replace: overwrite, kind: INDEX_FOLDER },
  );
}

/** An open index. Row i of `vectors` is document i. */
export class SavedIndex {
  readonly manifest: IndexManifest;
  readonly vectors: VectorIndex;
  readonly #path: string;
  readonly #file: FileHandle;
  /** Start of each document in the file, and finally the file's size. */
  readonly #offsets: Float64Array;

  /** Use `openIndex`. */
  constructor(
    manifest: IndexManifest,
    vectors: VectorIndex,
    documents: { path: string; file: FileHandle; offsets: Float64Array },
  ) {
    this.manifest = manifest;
    this.vectors = vectors;
    this.#path = documents.path;
    this.#file = documents.file;
    this.#offsets = documents.offsets;
  }

  /** The document of a row. @throws InputError if its line is not a document. */
  async document(row: number): Promise<IndexedDocument> {
    const [start, end] = [this.#offsets[row], this.#offsets[row + 1]];
    if (start === undefined || end === undefined) {
      throw new RangeError(`document: expected a row below ${this.manifest.count}, found ${row}`);
    }
    const bytes = Buffer.alloc(end - start);
    await readFully(this.#file, bytes, start, this.#path);
    const source = `${this.#path}:${row + 1}`;
    return validate(documentSchema, parseJson(bytes.toString('utf8'), { source }), source);
  }

  /** For each of the queries [queries * dimension] its `k` nearest documents (or all), best first. */
  async search(queries: Float32Array, k: number): Promise<FoundDocument[][]> {
    const { k: found, rows, scores } = await this.vectors.search(queries, k);
    return Promise.all(
      Array.from({ length: queries.length / this.manifest.dimension }, (_, query) =>
        Promise.all(
          Array.from({ length: found }, async (_, i) => ({
            document: await this.document(rows[query * found + i] as number),
            score: scores[query * found + i] as number,
          })),
        ),
      ),
    );
  }

  async dispose(): Promise<void> {
    await this.vectors.dispose();
    await this.#file.close();
  }
}

const openSchema = z.strictObject({
  /** Threads of one search. Default: ONNX Runtime's choice (physical cores). */
  threads: z.int().positive().optional(),
});

export type OpenIndexOptions = z.input<typeof openSchema>;

/**
 * Opens a saved index, reading and checking every byte. Close it with `dispose`. Before searching it with a model, call
 * `assertCompatible`.
 * @throws InputError naming the file that is missing, truncated, changed, or not as the manifest says.
 */
export async function openIndex(folder: string, options: OpenIndexOptions = {}): Promise<SavedIndex> {
  const { threads } = validate(openSchema, options, 'openIndex options');
  requireLittleEndian();
  const manifest = await readManifest(folder);
  const pool = threads === undefined ? {} : { threads };
  const exact = await ExactIndex.create(manifest.dimension, { capacity: manifest.count, ...pool });
  let vectors: VectorIndex = exact;
  try {
    await readVectors(join(folder, VECTORS_FILE), manifest, exact);
    if (manifest.graph !== undefined) vectors = await openGraph(folder, manifest, exact, pool);
    return new SavedIndex(manifest, vectors, await openDocuments(join(folder, DOCUMENTS_FILE), manifest));
  } catch (error) {
    await vectors.dispose();
    throw error;
  }
}

async function openGraph(
  folder: string,
  { graph, files }: IndexManifest,
  exact: ExactIndex,
  pool: { threads?: number },
): Promise<AnnIndex> {
  const path = join(folder, GRAPH_FILE);
  // usearch does not check what it reads.
  await readCheckedFile(path, files[GRAPH_FILE] as FileDigest, PIECE_BYTES, () => {});
  const { connectivity, buildWidth } = graph ?? GRAPH_SETTINGS;
  return AnnIndex.over(exact, { ...pool, connectivity, buildWidth }, path);
}

async function readVectors(
  path: string,
  { dimension, files }: IndexManifest,
  into: ExactIndex,
): Promise<void> {
  const rowBytes = dimension * Float32Array.BYTES_PER_ELEMENT;
  const pieceBytes = Math.max(1, Math.floor(PIECE_BYTES / rowBytes)) * rowBytes;
  await readCheckedFile(path, files[VECTORS_FILE], pieceBytes, (piece) => {
    const rows = new Float32Array(
      piece.buffer,
      piece.byteOffset,
      piece.length / Float32Array.BYTES_PER_ELEMENT,
    );
    refuseWrongVectors(rows, dimension, path, into.size);
    into.append(rows);
  });
}

async function openDocuments(path: string, { count, files }: IndexManifest) {
  const offsets = new Float64Array(count + 1);
  let ends = 0;
  let position = 0;
  const file = await openFile(path);
  try {
    await readChecked(file, { path, from: 0, digest: files[DOCUMENTS_FILE] }, PIECE_BYTES, (piece) => {
      for (let at = piece.indexOf(NEWLINE); at >= 0; at = piece.indexOf(NEWLINE, at + 1)) {
        ends++;
        // Writes beyond the end of the array are ignored; the count is checked below.
        offsets[ends] = position + at + 1;
      }
      position += piece.length;
    });
    if (ends !== count || offsets[count] !== position) {
      const found = ends === count ? 'more after the last' : `${ends}`;
      const expected = `${count}, as the manifest says`;
      throw new InputError({ source: path, field: 'lines', expected, found });
    }
    return { path, file, offsets };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function written(path: string, contents: Iterable<Uint8Array>): Promise<FileDigest> {
  let digest: FileDigest | undefined;
  await writeFileAtomic(path, async (file) => {
    digest = await writeChecked(file, 0, contents);
  });
  return digest as FileDigest;
}

/** Embeddings have length 1; anything else, including NaN, is an error in making or storing them. */
function refuseWrongVectors(matrix: Float32Array, dimension: number, source: string, firstRow: number): void {
  for (let start = 0; start < matrix.length; start += dimension) {
    let squares = 0;
    for (let i = start; i < start + dimension; i++) squares += (matrix[i] as number) ** 2;
    const length = Math.sqrt(squares);
    if (Math.abs(length - 1) <= LENGTH_TOLERANCE) continue;
    const field = `vectors[${firstRow + start / dimension}]`;
    throw new InputError({ source, field, expected: 'a vector of length 1', found: `length ${length}` });
  }
}

function* pieces(vectors: Float32Array): Generator<Uint8Array> {
  const bytes = new Uint8Array(vectors.buffer, vectors.byteOffset, vectors.byteLength);
  for (let start = 0; start < bytes.length; start += PIECE_BYTES) {
    yield bytes.subarray(start, start + PIECE_BYTES);
  }
}

function* lines(documents: readonly IndexedDocument[]): Generator<Uint8Array> {
  let text = '';
  for (const document of documents) {
    text += `${JSON.stringify(document)}\n`;
    if (text.length < PIECE_BYTES) continue;
    yield Buffer.from(text);
    text = '';
  }
  yield Buffer.from(text);
}

function requireLittleEndian(): void {
  if (endianness() !== 'LE') throw new Error('saved indexes need a little-endian machine');
}
