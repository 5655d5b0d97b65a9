/** Checks the vectors that the encoder returns before any of them is stored. */
import { InputError } from '../run/index.js';
import type { EncodeDocuments } from './types.js';

/** @throws InputError unless each document gets a finite vector of `dimension`; names the first that does not. */
export async function encodeChecked(
  encode: EncodeDocuments,
  ids: readonly string[],
  dimension: number,
): Promise<Float32Array> {
  const vectors = await encode(ids);
  const fail = (field: string, expected: string, found: string) =>
    new InputError({ source: 'environment', field, expected, found });
  if (vectors.length !== ids.length * dimension) {
    const expected = `${ids.length} of ${dimension} numbers`;
    throw fail('the encoded vectors', expected, `${vectors.length} numbers`);
  }
  // NaN has no place in a ranking.
  const at = vectors.findIndex((value) => !Number.isFinite(value));
  if (at === -1) return vectors;
  const id = ids[Math.floor(at / dimension)] as string;
  throw fail(`the encoded vector of the document ${id}`, 'finite numbers', String(vectors[at]));
}
