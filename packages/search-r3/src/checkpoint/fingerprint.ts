/** The identity of a model in parts, by which an index rejects the vectors of a different one. */
import { createHash, type Hash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { InputError } from '../run/errors.js';
import type { Checkpoint } from './checkpoint.js';
import type { ModelConfig } from './config.js';
import type { Weights } from './parameters.js';
import { type Prompts, poolingOf } from './prompts.js';
import type { EmbeddingFormat } from './retriever-file.js';
import { isSameFile, type StoredFile, storedFile } from './weight-files.js';

/**
 * The parts of a fingerprint, in the order in which they are compared, and what happens if an index that was made with
 * one model is searched with another that differs in this part: vectors that cannot be compared are refused, vectors
 * that can be, less well, are worth a warning.
 */
export const FINGERPRINT_PARTS = {
  dimensions: { differs: 'refuse', is: 'the length of the vectors' },
  weights: { differs: 'refuse', is: 'the weights as stored, and the configuration' },
  adapter: { differs: 'refuse', is: 'the adapter on top of the weights' },
  tokenizer: { differs: 'refuse', is: 'vocabulary, merges, added tokens and chat template' },
  pooling: { differs: 'refuse', is: 'where the embedding is read' },
  documentPrompt: { differs: 'refuse', is: 'the prompt around a document' },
  queryPrompt: { differs: 'warn', is: 'the prompts around a query, with and without reasoning' },
  precision: { differs: 'warn', is: 'the number format in which the model computes' },
} as const satisfies Record<string, { differs: 'refuse' | 'warn'; is: string }>;

export type FingerprintPart = keyof typeof FINGERPRINT_PARTS;

/** A short hash or the value itself, by part. */
export type Fingerprint = Record<FingerprintPart, string>;

/** What the fingerprint of a model is made from. */
export interface Identified extends EmbeddingFormat, Pick<Checkpoint, 'config' | 'tokenizer'> {}

/** Where its weights are: in files as stored, whose bytes are hashed, or in memory. */
export type Stored = { files: readonly StoredFile[] } | { weights: Weights };

export interface FingerprintOptions {
  /** The identity of the adapter. Default `none`. */
  adapter?: string;
  /** Default `f32`. */
  precision?: string;
}

/** The fingerprint of a model. @throws InputError if one of the files has changed. */
export async function fingerprintParts(
  { config, tokenizer, prompts, dimensions = config.hiddenSize }: Identified,
  stored: Stored,
  { adapter = 'none', precision = 'f32' }: FingerprintOptions = {},
): Promise<Fingerprint> {
  const { query, document, reasoning, templateVariables } = prompts;
  const hash = configHash(config);
  const hashed = 'files' in stored ? await hashFiles(hash, stored.files) : hashWeights(hash, stored.weights);
  return {
    dimensions: String(dimensions),
    weights: short(hashed.digest('hex')),
    adapter,
    tokenizer: short(tokenizer.fingerprint()),
    pooling: poolingPart(prompts),
    documentPrompt: jsonHash({ document, templateVariables }),
    queryPrompt: jsonHash({ query, reasoning, templateVariables }),
    precision,
  };
}

const poolingPart = (prompts: Prompts): string =>
  [poolingOf(prompts), prompts.embedToken].filter((part) => part !== undefined).join(' ');

/**
 * Compares the fingerprint that an index records with that of the model that is to search it.
 * @param source names the index.
 * @returns a sentence for each difference that is worth a warning.
 * @throws InputError for a difference that makes vectors incomparable.
 */
export function compareFingerprints(
  made: Readonly<Record<string, string>>,
  model: Fingerprint,
  source: string,
): string[] {
  const warnings: string[] = [];
  for (const [part, { differs, is }] of Object.entries(FINGERPRINT_PARTS)) {
    const [expected, found] = [model[part as FingerprintPart], made[part]];
    if (found === undefined) {
      throw new InputError({
        source,
        field: `fingerprint.${part}`,
        expected,
        found: 'nothing, because another version of search-r3 made the index',
        remedy: 'Index the corpus again.',
      });
    }
    if (found === expected) continue;
    if (differs === 'warn') {
      warnings.push(`${source}: made with another ${part} (${is}): ${found}, now ${expected}.`);
      continue;
    }
    throw new InputError({
      source,
      field: `fingerprint.${part}`,
      expected: `${expected}, as in the model (${is})`,
      found,
      remedy: 'Search it with the model that made it, or index the corpus again with this one.',
    });
  }
  return warnings;
}

/**
 * SHA-256, in hex, of configuration, tokenizer, and every weight as float32: a run is not resumed with another model.
 * One pass over the weights takes about a second per gigabyte. A checkpoint stored in half precision and loaded again
 * has a different fingerprint.
 */
export function checkpointFingerprint({ config, weights, tokenizer }: Checkpoint): string {
  return hashWeights(configHash(config).update(tokenizer.fingerprint()), weights).digest('hex');
}

/** Weights hashed at once. A call takes less than 2 GiB, and the embedding of a large vocabulary is larger. */
const PIECE = 1 << 24;

function hashWeights(hash: Hash, weights: Weights): Hash {
  for (const [name, { data, shape }] of [...weights].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(JSON.stringify([name, shape]));
    for (let start = 0; start < data.length; start += PIECE) {
      const { buffer, byteOffset, byteLength } = data.subarray(start, start + PIECE);
      hash.update(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }
  return hash;
}

async function hashFiles(hash: Hash, files: readonly StoredFile[]): Promise<Hash> {
  for (const file of files) hash.update(await fileHash(file));
  return hash;
}

function configHash({ raw: _, ...normalised }: ModelConfig): Hash {
  return createHash('sha256').update(JSON.stringify(sorted(normalised)));
}

/** Hashes by path. */
const known = new Map<string, StoredFile & { digest: Promise<string> }>();

async function fileHash(file: StoredFile): Promise<string> {
  const { path } = file;
  if (!isSameFile(file, await storedFile(path))) {
    const expected = 'the file from which the model was loaded';
    throw new InputError({ source: path, expected, found: 'another', remedy: 'Load the model again.' });
  }
  const before = known.get(path);
  if (before !== undefined && isSameFile(before, file)) return before.digest;
  const digest = streamed(path);
  known.set(path, { ...file, digest });
  digest.catch(() => known.delete(path));
  return digest;
}

async function streamed(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 })) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

/** Sixteen of its digits: enough to tell models apart. */
const short = (hash: string): string => hash.slice(0, 16);

/** Does not depend on the order of the fields. */
function jsonHash(value: object): string {
  const text = JSON.stringify(value, (_, inner: unknown) =>
    typeof inner === 'object' && inner !== null && !Array.isArray(inner)
      ? Object.fromEntries(sorted(inner))
      : inner,
  );
  return short(createHash('sha256').update(text).digest('hex'));
}

/** The fields, sorted by name. */
function sorted(record: object): [string, unknown][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}
