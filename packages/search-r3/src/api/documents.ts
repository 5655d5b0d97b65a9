/** The documents that a retriever is given: where they come from, what they may hold, and their embeddings. */
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { documentText, loadCorpus } from '../dataset/index.js';
import type { Embedder } from '../embed/index.js';
import { matrixOf } from '../evaluate/index.js';
import { ATLAS, loadDocuments } from '../pipeline/index.js';
import { InputError } from '../run/index.js';
import {
  type Batch,
  checkedDocuments,
  type DocumentInput,
  type IndexedDocument,
  type StoredBatch,
} from '../vectors/index.js';
import type { DocumentOptions, EncodingSummary } from './types.js';

/**
 * The documents of a folder or list, checked.
 * @throws InputError if there is none, or one is invalid or has a field that search results have.
 */
export async function readDocuments(source: string | readonly DocumentInput[]): Promise<IndexedDocument[]> {
  const documents = checkedDocuments(
    typeof source === 'string' ? await documentsOf(source) : source,
    'documents',
  );
  if (documents.length === 0) {
    throw new InputError({ source: 'documents', expected: 'at least one', found: 'none' });
  }
  for (const [row, document] of documents.entries()) refuseTaken(document, `documents[${row}]`);
  return documents;
}

/** The documents of a folder with all their fields; errors name the line. */
function documentsOf(source: string): Promise<readonly DocumentInput[]> {
  if (source === ATLAS) return loadDocuments(source);
  return loadCorpus(join(source, 'corpus.jsonl'), { check: refuseTaken });
}

/** Fields that a search adds to a document. */
const TAKEN = ['rank', 'score'];

/** A search would overwrite such a field of a document. */
function refuseTaken(document: DocumentInput, source: string): void {
  const field = TAKEN.find((name) => document[name] !== undefined);
  if (field === undefined) return;
  throw new InputError({
    source,
    field,
    expected: `no field ${field}, because search results have one`,
    found: 'one',
    remedy: 'Rename the field.',
  });
}

const textOf = ({ id, title, text }: IndexedDocument): string =>
  documentText({ id, text, ...(title !== undefined && { title }) });

/** Documents that are embedded piece by piece as a store takes them. */
export class EmbeddedDocuments {
  readonly #embedder: Embedder;
  readonly #documents: readonly IndexedDocument[];
  readonly #options: DocumentOptions;
  readonly #dimension: number;
  #truncated = 0;

  /** @param dimension length of the vectors. */
  constructor(
    embedder: Embedder,
    documents: readonly IndexedDocument[],
    dimension: number,
    options: DocumentOptions,
  ) {
    this.#embedder = embedder;
    this.#documents = documents;
    this.#options = options;
    this.#dimension = dimension;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch> {
    let start = 0;
    const pieces = this.#embedder.stream(this.#documents.map(textOf), {
      ...this.#options,
      role: 'document',
      dimensions: this.#dimension,
      nameOf: (i) => `document ${this.#documents[i]?.id}`,
    });
    for await (const piece of pieces) {
      const documents = this.#documents.slice(start, start + piece.length);
      start += piece.length;
      this.#truncated += piece.filter(({ truncated }) => truncated).length;
      yield { documents, vectors: matrixOf(piece, this.#dimension) };
    }
  }

  /** What became of the documents, once all are embedded. */
  get summary(): EncodingSummary {
    const { maxPositions } = this.#embedder.model.config;
    const { maxLength = this.#embedder.limits.maxLength } = this.#options;
    return { truncated: this.#truncated, maxLength: Math.min(maxLength, maxPositions), maxPositions };
  }
}

/** How a corpus differs from an index. */
export interface CorpusChanges {
  /** Not in the index, or with other texts: to be embedded. */
  embed: IndexedDocument[];
  /** Those of `embed` that are in the index. */
  reworded: number;
  /** With other metadata only: their vectors stay. */
  relabelled: Batch[];
  unchanged: number;
  /** In the index, but not in the corpus. */
  gone: string[];
}

/** Compares a corpus with the documents of an index by content. */
export async function changesOf(
  documents: readonly IndexedDocument[],
  stored: AsyncIterable<StoredBatch>,
  dimension: number,
): Promise<CorpusChanges> {
  const pending = new Map(documents.map((document) => [document.id, document]));
  const changes: CorpusChanges = { embed: [], reworded: 0, relabelled: [], unchanged: 0, gone: [] };
  for await (const { documents: before, vectors } of stored) {
    const relabelled: { document: IndexedDocument; vector: Float32Array }[] = [];
    for (const [row, old] of before.entries()) {
      const document = pending.get(old.id);
      if (document === undefined) changes.gone.push(old.id);
      else if (textOf(document) !== textOf(old)) changes.reworded++;
      else {
        pending.delete(old.id);
        const vector = vectors.subarray(row * dimension, (row + 1) * dimension);
        if (isDeepStrictEqual(JSON.parse(JSON.stringify(document)), old)) changes.unchanged++;
        else relabelled.push({ document, vector });
      }
    }
    changes.relabelled.push({
      documents: relabelled.map(({ document }) => document),
      vectors: matrixOf(relabelled, dimension),
    });
  }
  changes.embed = [...pending.values()];
  return changes;
}
