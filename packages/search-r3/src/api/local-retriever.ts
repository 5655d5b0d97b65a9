/** The retriever in the calling thread. */
import { join } from 'node:path';
import { z } from 'zod';
import { checkpointFingerprint, promptsFingerprint } from '../checkpoint/index.js';
import { documentText, isBlank, loadCorpus } from '../dataset/index.js';
import type { Policy } from '../decoder/index.js';
import { Embedder, type Embedding, type EmbedOptions } from '../embed/index.js';
import { matrixOf } from '../evaluate/index.js';
import { ATLAS, loadDocuments, loadPolicy } from '../pipeline/index.js';
import { assertReplaceable, InputError, validate } from '../run/index.js';
import {
  assertCompatible,
  checkedDocuments,
  type DocumentInput,
  INDEX_FOLDER,
  type IndexedDocument,
  type IndexFingerprint,
  openIndex,
  readManifest,
  type SavedIndex,
  saveIndex,
} from '../vectors/index.js';
import type {
  FoundDocuments,
  IndexOptions,
  IndexSummary,
  Retriever,
  RetrieverOptions,
  SearchIndex,
  SearchOptions,
} from './types.js';

/** `RetrieverOptions` within a thread. */
export type LoadOptions = Omit<RetrieverOptions, 'thread'>;

export class LocalRetriever implements Retriever {
  readonly #policy: Policy;
  readonly #embedder: Embedder;
  readonly #threads: { threads?: number };
  readonly #opened = new Set<LocalIndex>();
  #fingerprint: IndexFingerprint | undefined;

  private constructor(policy: Policy, embedder: Embedder, threads: { threads?: number }) {
    this.#policy = policy;
    this.#embedder = embedder;
    this.#threads = threads;
  }

  /** @throws InputError if the folder holds no model, or one that was not trained as a retriever. */
  static async load(folder: string, options: LoadOptions = {}): Promise<LocalRetriever> {
    const policy = await loadPolicy(folder, options.onNote);
    const threads = options.threads === undefined ? {} : { threads: options.threads };
    return new LocalRetriever(policy, await Embedder.create(policy, threads), threads);
  }

  get dimension(): number {
    return this.#embedder.dimension;
  }

  async embed(texts: readonly string[], options: EmbedOptions = {}): Promise<Embedding[]> {
    const { role = 'query', nameOf = (i: number) => `text ${i}` } = options;
    validate(textsSchema, texts, 'texts');
    if (role === 'query') refuseBlank(texts, nameOf);
    return this.#embedder.embed(texts, options);
  }

  async index(source: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary> {
    validate(indexSchema, options ?? {}, 'index options');
    const { out, overwrite = false, ann = false, onProgress, ...how } = options;
    // Before the work, not after it.
    await assertReplaceable(out, { replace: overwrite, kind: INDEX_FOLDER });
    const documents = checkedDocuments(
      typeof source === 'string' ? await documentsOf(source) : source,
      'documents',
    );
    for (const [row, document] of documents.entries()) refuseTaken(document, `documents[${row}]`);
    const fingerprint = this.#identity();
    const embedded = await this.embed(documents.map(textOf), {
      ...how,
      role: 'document',
      nameOf: (i) => `document ${documents[i]?.id}`,
      ...(onProgress && { onProgress }),
    });
    const { dimension } = this;
    const contents = { vectors: matrixOf(embedded, dimension), dimension, fingerprint };
    await saveIndex(out, { ...contents, documents }, { overwrite, ann });
    const truncated = embedded.filter((embedding) => embedding.truncated).length;
    const { maxPositions } = this.#policy.config;
    const { maxLength = this.#embedder.limits.maxLength } = how;
    const lengths = { maxLength: Math.min(maxLength, maxPositions), maxPositions };
    return { index: out, documents: documents.length, dimension, truncated, ...lengths };
  }

  async open(folder: string): Promise<LocalIndex> {
    const model = { ...this.#identity(), dimension: this.dimension };
    assertCompatible(await readManifest(folder), model, folder);
    const index = new LocalIndex(this.#embedder, await openIndex(folder, this.#threads), () =>
      this.#opened.delete(index),
    );
    this.#opened.add(index);
    return index;
  }

  async dispose(): Promise<void> {
    for (const index of [...this.#opened]) await index.dispose();
    await this.#embedder.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  /** Computed on first use, because it reads all weights. */
  #identity(): IndexFingerprint {
    this.#fingerprint ??= {
      checkpoint: checkpointFingerprint(this.#policy),
      prompts: promptsFingerprint(this.#policy.prompts),
    };
    return this.#fingerprint;
  }
}

/** An index and the embedder of the model that made it. */
export class LocalIndex implements SearchIndex {
  readonly #embedder: Embedder;
  readonly #saved: SavedIndex;
  readonly #onDispose: () => void;
  #disposal: Promise<void> | undefined;

  /** Use `Retriever.open`. */
  constructor(embedder: Embedder, saved: SavedIndex, onDispose: () => void) {
    this.#embedder = embedder;
    this.#saved = saved;
    this.#onDispose = onDispose;
  }

  get size(): number {
    return this.#saved.manifest.count;
  }

  async search(queries: readonly string[], options: SearchOptions = {}): Promise<FoundDocuments[]> {
    validate(textsSchema, queries, 'queries');
    const { k = 10, reasoning = true, ...how } = options;
    if (!Number.isSafeInteger(k) || k < 1) {
      const expected = 'a whole number of at least 1';
      throw new InputError({ source: 'search options', field: 'k', expected, found: String(k) });
    }
    const nameOf = (i: number) => `query ${shortened(queries[i] as string)}`;
    refuseBlank(queries, nameOf);
    const embedded = await this.#embedder.embed(queries, {
      ...how,
      reasoning,
      nameOf,
      role: 'query',
    });
    const found = await this.#saved.search(matrixOf(embedded, this.#embedder.dimension), k);
    return embedded.map(({ truncated, reasoning, completed }, i) => ({
      query: queries[i] as string,
      truncated,
      reasoning: reasoning ?? null,
      completed: completed ?? null,
      results: (found[i] ?? []).map(({ document, score }, place) => ({
        ...document,
        rank: place + 1,
        score,
      })),
    }));
  }

  async dispose(): Promise<void> {
    this.#onDispose();
    this.#disposal ??= this.#saved.dispose();
    await this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

const textOf = ({ id, title, text }: IndexedDocument): string =>
  documentText({ id, text, ...(title !== undefined && { title }) });

/** Checks for JavaScript callers; TypeScript checks these types at compile time. */
const textsSchema = z.array(z.string());
const indexSchema = z.looseObject({
  out: z.string().min(1),
  overwrite: z.boolean().optional(),
  ann: z.boolean().optional(),
});

/** Name of a query in errors. */
const shortened = (query: string) => JSON.stringify(query.length > 60 ? `${query.slice(0, 60)}...` : query);

/** A blank query has no meaningful neighbours, but its results would look like an answer. */
export function refuseBlank(queries: readonly string[], nameOf: (index: number) => string): void {
  const blank = queries.findIndex(isBlank);
  if (blank < 0) return;
  const found = JSON.stringify(queries[blank]);
  throw new InputError({ source: nameOf(blank), expected: 'a query with text', found });
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

/** The documents of a folder with all their fields; errors name the line. */
function documentsOf(source: string): Promise<readonly DocumentInput[]> {
  if (source === ATLAS) return loadDocuments(source);
  return loadCorpus(join(source, 'corpus.jsonl'), { check: refuseTaken });
}
