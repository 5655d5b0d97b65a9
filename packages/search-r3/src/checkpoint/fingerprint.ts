/** A checkpoint's identity, by which an index refuses vectors of another model. */
import { createHash } from 'node:crypto';
import type { Checkpoint } from './checkpoint.js';

/** Weights hashed at once: no call takes 2 GiB, which the embeddings of a large vocabulary fill. */
const PIECE = 1 << 24;

/**
 * SHA-256, in hex, of all that decides an embedding but the prompts (see `promptsFingerprint`): configuration,
 * tokenizer, and every weight as float32. One pass over the weights, about a second per gigabyte. A checkpoint stored
 * in half precision has, loaded again, another fingerprint than the float32 one it was saved from: its vectors differ.
 */
export function checkpointFingerprint({ config, weights, tokenizer }: Checkpoint): string {
  const { raw: _, ...normalised } = config;
  const hash = createHash('sha256').update(JSON.stringify(sorted(normalised)));
  hash.update(tokenizer.fingerprint());
  for (const [name, { data, shape }] of [...weights].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(JSON.stringify([name, shape]));
    for (let start = 0; start < data.length; start += PIECE) {
      const { buffer, byteOffset, byteLength } = data.subarray(start, start + PIECE);
      hash.update(new Uint8Array(buffer, byteOffset, byteLength));
    }
  }
  return hash.digest('hex');
}

/** The fields in order of their names. */
function sorted(record: object): [string, unknown][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}
