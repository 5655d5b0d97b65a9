/** The identity of a checkpoint, by which an index rejects the vectors of a different one. */
import { createHash } from 'node:crypto';
import type { Checkpoint } from './checkpoint.js';

/** Weights hashed at once. A call takes less than 2 GiB, and the embedding of a large vocabulary is larger. */
const PIECE = 1 << 24;

/**
 * SHA-256, in hex, of everything that decides an embedding except the prompts (see `promptsFingerprint`):
 * configuration, tokenizer, and every weight as float32. One pass over the weights takes about a second per gigabyte. A
 * checkpoint stored in half precision and loaded again has a different fingerprint, because its vectors differ.
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

/** The fields, sorted by name. */
function sorted(record: object): [string, unknown][] {
  return Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1));
}
