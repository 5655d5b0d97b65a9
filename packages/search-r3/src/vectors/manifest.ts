/** `manifest.json` of a saved index: what made its vectors, and in which of its folders the rows are. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { digestSchema } from '../run/checked-files.js';
import { InputError } from '../run/errors.js';
import { describeReadFailure, type FolderKind, readJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { countRows, type RowCounts, VECTORS_FILE } from './row-log.js';

export const MANIFEST_FILE = 'manifest.json';
export const GRAPH_FILE = 'graph.usearch';

const VERSION = 2;
/** A folder of rows; the manifest names the one that counts. */
export const DATA_FOLDER = /^data-\d+$/;

const headSchema = z.looseObject({ format: z.literal('search-r3-index'), version: z.int() });

/** Whoever opens the index compares the parts with those of the model that is to search it. */
export const fingerprintSchema = z.record(z.string().min(1), z.string().min(1));

const graphSchema = z.strictObject({
  /** The writer and version of the file format. */
  format: z.literal('usearch-2'),
  /** See `AnnIndexOptions`. */
  connectivity: z.int().positive(),
  buildWidth: z.int().positive(),
  /** Vectors in the graph: the first rows. */
  rows: z.int().positive(),
  file: digestSchema,
});

const manifestSchema = z.strictObject({
  ...headSchema.shape,
  dimension: z.int().positive(),
  /** Little-endian. */
  dtype: z.literal('f32'),
  fingerprint: fingerprintSchema,
  created: z.iso.datetime(),
  /** The folder of the rows, see `RowLog`. Its number rises when the rows are written anew, without those removed. */
  data: z.string().regex(DATA_FOLDER, 'expected a name like data-1'),
  /** Whether a proximity graph is kept. */
  ann: z.boolean(),
  /** The graph, in the folder of the rows; an index with few rows has none. */
  graph: graphSchema.optional(),
});

export type IndexManifest = z.output<typeof manifestSchema>;

/** What a new manifest has to say. */
export type ManifestFields = Omit<IndexManifest, 'format' | 'version' | 'dtype'>;

export const newManifest = (fields: ManifestFields): IndexManifest => ({
  format: 'search-r3-index',
  version: VERSION,
  dtype: 'f32',
  ...fields,
});

/** The folder of the rows after this one. */
export const nextData = (data: string): string => `data-${Number(data.slice('data-'.length)) + 1}`;

/** @throws InputError if it is missing, has another format version or contradicts itself. */
export async function readManifest(folder: string): Promise<IndexManifest> {
  const path = join(folder, MANIFEST_FILE);
  const value = await readJson(path);
  // First, because the fields of another version would be reported as unknown.
  const { version } = validate(headSchema, value, path);
  if (version !== VERSION) {
    throw new InputError({
      source: path,
      field: 'version',
      expected: `${VERSION}`,
      found: `${version}`,
      remedy: 'Index the corpus again with this version of search-r3.',
    });
  }
  return validate(manifestSchema, value, path);
}

/** An index as its manifest and its log describe it. */
export interface IndexDescription extends RowCounts {
  manifest: IndexManifest;
}

/** Describes an index without reading its contents. @throws InputError if a file is missing or too short. */
export async function describeIndex(folder: string): Promise<IndexDescription> {
  const manifest = await readManifest(folder);
  const data = join(folder, manifest.data);
  const counts = await countRows(data);
  const graph = manifest.graph?.file.bytes ?? 0;
  if (graph > 0) await refuseShort(join(data, GRAPH_FILE), graph);
  for (const [name, bytes] of Object.entries(counts.files)) await refuseShort(join(data, name), bytes);
  return { manifest, ...counts };
}

async function refuseShort(path: string, bytes: number): Promise<void> {
  const found = await stat(path).then(({ size }) => size, describeReadFailure);
  if (typeof found === 'number' && found >= bytes) return;
  throw new InputError({ source: path, expected: `${bytes} bytes`, found: `${found}` });
}

/** What may be overwritten by an index: one of any format version, even with a damaged manifest. */
export const INDEX_FOLDER: FolderKind = {
  name: 'an index',
  is: async (folder) => {
    try {
      const manifest = await readJson(join(folder, MANIFEST_FILE));
      return headSchema.pick({ format: true }).safeParse(manifest).success;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      const names = await readdir(folder);
      // Before version 2, the files of the rows were in the folder itself.
      const hasRows = names.some((name) => DATA_FOLDER.test(name) || name === VECTORS_FILE);
      return names.includes(MANIFEST_FILE) && hasRows;
    }
  },
};
