/** The batches that a store is given, read one after the other and checked before anything is written. */
import { InputError, InterruptedError } from '../run/errors.js';
import { checkedDocuments, type IndexedDocument } from './documents.js';
import type { Batch, Batches, StoreCallOptions } from './store.js';
import { refuseWrongLengths } from './unit-vectors.js';

/** A batch as a store keeps it. */
export interface CheckedBatch {
  /** As JSON holds them. */
  documents: IndexedDocument[];
  /** [documents * dimension] */
  vectors: Float32Array;
}

/** What the batches are for. */
export interface BatchUse extends StoreCallOptions {
  dimension: number;
  /** Name of the call in errors. */
  source: string;
}

/**
 * The batches that are not empty, checked.
 * @throws InputError for one that is invalid; InterruptedError if the caller aborts.
 */
export async function* eachBatch(batches: Batches, use: BatchUse): AsyncGenerator<CheckedBatch> {
  for await (const batch of isBatch(batches) ? [batches] : batches) {
    if (use.signal?.aborted) throw new InterruptedError(`${use.source}: stopped by the caller`);
    if (batch.documents.length > 0 || batch.vectors.length > 0) yield checked(batch, use);
  }
}

const isBatch = (batches: Batches): batches is Batch => 'documents' in batches;

function checked({ documents, vectors }: Batch, { dimension, source }: BatchUse): CheckedBatch {
  const stored = checkedDocuments(documents, `${source} documents`);
  if (!(vectors instanceof Float32Array) || vectors.length !== stored.length * dimension) {
    const found = vectors instanceof Float32Array ? `${vectors.length} numbers` : typeof vectors;
    const expected = `${stored.length} rows of dimension ${dimension}`;
    throw new InputError({ source, field: 'vectors', expected, found });
  }
  refuseWrongLengths(vectors, dimension, source);
  return { documents: stored.map((document) => JSON.parse(JSON.stringify(document))), vectors };
}
