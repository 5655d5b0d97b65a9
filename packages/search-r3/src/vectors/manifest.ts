/** `manifest.json` of a saved index: what it contains, which model made it, and the checksums of its files. */
import { join } from 'node:path';
import { z } from 'zod';
import { checkLengths, digestSchema, type FileList } from '../run/checked-files.js';
import { InputError } from '../run/errors.js';
import { exists, type FolderKind, readJson } from '../run/files.js';
import { validate } from '../run/validate.js';

export const MANIFEST_FILE = 'manifest.json';
export const VECTORS_FILE = 'vectors.f32';
export const DOCUMENTS_FILE = 'documents.jsonl';
export const GRAPH_FILE = 'graph.usearch';

const headSchema = z.looseObject({ format: z.literal('search-r3-index'), version: z.literal(1) });

export const fingerprintSchema = z.strictObject({
  /** See `checkpointFingerprint` and `promptsFingerprint`. */
  checkpoint: z.string().min(1),
  prompts: z.string().min(1),
});

const graphSchema = z.strictObject({
  /** The writer and version of the file format. */
  format: z.literal('usearch-2'),
  /** See `AnnIndexOptions`. */
  connectivity: z.int().positive(),
  buildWidth: z.int().positive(),
});

const manifestSchema = z.strictObject({
  ...headSchema.shape,
  count: z.int().positive(),
  dimension: z.int().positive(),
  /** Little-endian. */
  dtype: z.literal('f32'),
  /** The model whose embeddings these are. */
  fingerprint: fingerprintSchema,
  created: z.iso.datetime(),
  files: z.strictObject({
    [VECTORS_FILE]: digestSchema,
    [DOCUMENTS_FILE]: digestSchema,
    [GRAPH_FILE]: digestSchema.optional(),
  }),
  /** The proximity graph of the vectors, if one was saved. */
  graph: graphSchema.optional(),
});

export type IndexManifest = z.output<typeof manifestSchema>;

/** The model that made an index or should search it. */
export type IndexFingerprint = z.output<typeof fingerprintSchema>;

/**
 * Reads the manifest of a saved index.
 * @throws InputError if it is missing, has another format version or contradicts itself, or if a file it names is
 *   missing or has another size. (`openIndex` checks the contents of the files.)
 */
export async function readManifest(folder: string): Promise<IndexManifest> {
  const path = join(folder, MANIFEST_FILE);
  const value = await readJson(path);
  // First, because the fields of another version would be reported as unknown.
  validate(headSchema, value, path);
  const manifest = validate(manifestSchema, value, path);
  const { count, dimension, files } = manifest;
  const { bytes } = files[VECTORS_FILE];
  if (bytes !== count * dimension * Float32Array.BYTES_PER_ELEMENT) {
    throw new InputError({
      source: path,
      field: `files.${VECTORS_FILE}.bytes`,
      expected: `${count * dimension * Float32Array.BYTES_PER_ELEMENT}, for ${count} vectors of dimension ${dimension}`,
      found: String(bytes),
    });
  }
  if ((manifest.graph === undefined) !== (files[GRAPH_FILE] === undefined)) {
    throw new InputError({
      source: path,
      field: manifest.graph === undefined ? 'graph' : `files.${GRAPH_FILE}`,
      expected: `both graph and files.${GRAPH_FILE}, or neither`,
      found: 'nothing',
    });
  }
  await checkLengths(folder, files as FileList);
  return manifest;
}

/** What `saveIndex` may replace: an index of any format version, even one with a damaged manifest. */
export const INDEX_FOLDER: FolderKind = {
  name: 'an index',
  is: async (folder) => {
    const there = (name: string) => exists(join(folder, name));
    try {
      const manifest = await readJson(join(folder, MANIFEST_FILE));
      return headSchema.pick({ format: true }).safeParse(manifest).success;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return (await there(MANIFEST_FILE)) && (await there(VECTORS_FILE)) && (await there(DOCUMENTS_FILE));
    }
  },
};

/**
 * Checks that a model made an index: vectors of different models cannot be compared.
 * @throws InputError naming both fingerprints (or dimensions), the model's as expected, the index's as found.
 */
export function assertCompatible(
  manifest: IndexManifest,
  model: IndexFingerprint & { dimension: number },
  source = 'index',
): void {
  const { fingerprint, dimension } = manifest;
  const compared = [
    ['dimension', model.dimension, dimension],
    ['fingerprint.checkpoint', model.checkpoint, fingerprint.checkpoint],
    ['fingerprint.prompts', model.prompts, fingerprint.prompts],
  ] as const;
  for (const [field, expected, found] of compared) {
    if (expected === found) continue;
    throw new InputError({
      source,
      field,
      expected: `${expected}, as in the model`,
      found: String(found),
      remedy: 'Search it with the model that made it, or index the corpus again with this one.',
    });
  }
}
