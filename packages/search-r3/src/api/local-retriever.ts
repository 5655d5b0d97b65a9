/** The retriever in the calling thread. */
import { z } from 'zod';
import { compareFingerprints } from '../checkpoint/index.js';
import { isBlank } from '../dataset/index.js';
import {
  Embedder,
  type Embedding,
  type EmbedOptions,
  type EmbedRequest,
  type EmbedResult,
  type ProbeRequest,
} from '../embed/index.js';
import { matrixOf } from '../evaluate/index.js';
import { Model } from '../model/index.js';
import { assertReplaceable, InputError, validate } from '../run/index.js';
import {
  type DocumentInput,
  type Filter,
  INDEX_FOLDER,
  type IndexedDocument,
  readManifest,
  SavedIndex,
  storeSearchSchema,
} from '../vectors/index.js';
import { changesOf, EmbeddedDocuments, readDocuments } from './documents.js';
import type {
  DocumentOptions,
  FoundDocuments,
  IndexOptions,
  IndexSummary,
  Retriever,
  RetrieverOptions,
  SearchIndex,
  SearchOptions,
  UpdateOptions,
  UpdateSummary,
  WriteSummary,
} from './types.js';

/** `RetrieverOptions` within a thread. */
export type LoadOptions = Omit<RetrieverOptions, 'thread'>;

export class LocalRetriever implements Retriever {
  readonly #model: Model;
  readonly #embedder: Embedder;
  readonly #options: LoadOptions;
  readonly #opened = new Set<LocalIndex>();

  private constructor(model: Model, options: LoadOptions) {
    this.#model = model;
    this.#embedder = new Embedder(model);
    this.#options = options;
  }

  /** @throws InputError if the folder holds no model, or one that cannot embed as the options ask. */
  static async load(folder: string, options: LoadOptions = {}): Promise<LocalRetriever> {
    return new LocalRetriever(await Model.load(folder, options), options);
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

  async submit(request: EmbedRequest): Promise<EmbedResult> {
    if (request.role !== 'document') refuseBlankText(request, 'embed request');
    return this.#embedder.submit(request);
  }

  async probe(request: ProbeRequest): Promise<Float32Array> {
    refuseBlankText(request, 'probe request');
    return this.#embedder.probe(request);
  }

  async index(source: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary> {
    validate(indexSchema, options ?? {}, 'index options');
    const { out, overwrite = false, ann = false, dimensions = this.dimension, ...how } = options;
    // Before the work, not after it.
    await assertReplaceable(out, { replace: overwrite, kind: INDEX_FOLDER });
    const documents = await readDocuments(source);
    const embedded = new EmbeddedDocuments(this.#embedder, documents, dimensions, how);
    const model = { dimension: dimensions, fingerprint: await this.#model.fingerprint() };
    const saved = await SavedIndex.create(out, { ...model, overwrite, ann }, embedded);
    await saved.close();
    return { index: out, documents: documents.length, dimension: dimensions, ...embedded.summary };
  }

  /** @param options `onNote`: as that of `load`, which is the default. */
  async open(
    folder: string,
    { onNote = this.#options.onNote }: Pick<LoadOptions, 'onNote'> = {},
  ): Promise<LocalIndex> {
    // Before its contents are read.
    const { fingerprint } = await readManifest(folder);
    const warnings = compareFingerprints(fingerprint, await this.#model.fingerprint(), folder);
    for (const warning of warnings) onNote?.(warning);
    const saved = await SavedIndex.open(folder, threadsOf(this.#options));
    const index = new LocalIndex(this.#embedder, saved, () => this.#opened.delete(index));
    this.#opened.add(index);
    return index;
  }

  async dispose(): Promise<void> {
    for (const index of [...this.#opened]) await index.dispose();
    await this.#model.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
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

  count(filter?: Filter): Promise<number> {
    return this.#saved.count(filter);
  }

  async add(source: string | readonly DocumentInput[], options: DocumentOptions = {}): Promise<WriteSummary> {
    const documents = await readDocuments(source);
    await this.#saved.lock();
    const known = (await this.#saved.get(documents.map(({ id }) => id))).find((one) => one !== undefined);
    if (known !== undefined) {
      const found = `"${known.id}", which is in the index`;
      throw new InputError({ source: 'documents', field: 'id', expected: 'new ids', found });
    }
    return this.#write('add', documents, options);
  }

  async upsert(
    source: string | readonly DocumentInput[],
    options: DocumentOptions = {},
  ): Promise<WriteSummary> {
    const documents = await readDocuments(source);
    await this.#saved.lock();
    return this.#write('upsert', documents, options);
  }

  async update(
    source: string | readonly DocumentInput[],
    { prune = false, ...how }: UpdateOptions = {},
  ): Promise<UpdateSummary> {
    const documents = await readDocuments(source);
    await this.#saved.lock();
    const changes = await changesOf(documents, this.#saved.scan(), this.#saved.dimension);
    const relabelled = await this.#saved.upsert(changes.relabelled);
    const { truncated, maxLength, maxPositions } = await this.#write('upsert', changes.embed, how);
    const removed = prune ? await this.#saved.delete(changes.gone) : 0;
    return {
      documents: await this.count(),
      added: changes.embed.length - changes.reworded,
      changed: changes.reworded + relabelled,
      unchanged: changes.unchanged,
      removed,
      kept: changes.gone.length - removed,
      ...{ truncated, maxLength, maxPositions },
    };
  }

  delete(which: readonly string[] | Filter): Promise<number> {
    return this.#saved.delete(which);
  }

  async search(queries: readonly string[], options: SearchOptions = {}): Promise<FoundDocuments[]> {
    validate(textsSchema, queries, 'queries');
    const { k = 10, filter, reasoning = this.#embedder.canReason, ...how } = options;
    const wanted = { k, ...(filter !== undefined && { filter }) };
    // Before the work, not after it.
    validate(storeSearchSchema, wanted, 'search options');
    const nameOf = (i: number) => `query ${shortened(queries[i] as string)}`;
    refuseBlank(queries, nameOf);
    const embedded = await this.#embedder.embed(queries, {
      ...how,
      reasoning,
      nameOf,
      role: 'query',
      dimensions: this.#saved.dimension,
    });
    const found = await this.#saved.search(matrixOf(embedded, this.#saved.dimension), wanted);
    return embedded.map(({ truncated, reasoning, reasonings, completed }, i) => ({
      query: queries[i] as string,
      truncated,
      reasoning: reasoning ?? null,
      ...(reasonings && { reasonings }),
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
    this.#disposal ??= this.#saved.close();
    await this.#disposal;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #write(
    call: 'add' | 'upsert',
    documents: readonly IndexedDocument[],
    options: DocumentOptions,
  ): Promise<WriteSummary> {
    const embedded = new EmbeddedDocuments(this.#embedder, documents, this.#saved.dimension, options);
    await this.#saved[call](embedded);
    return { documents: documents.length, ...embedded.summary };
  }
}

const threadsOf = ({ threads }: LoadOptions) => (threads === undefined ? {} : { threads });

/** Checks for JavaScript callers; TypeScript checks these types at compile time. */
const textsSchema = z.array(z.string());
const indexSchema = z.looseObject({
  out: z.string().min(1),
  overwrite: z.boolean().optional(),
  ann: z.boolean().optional(),
  dimensions: z.int().min(1).optional(),
});

/** Name of a query in errors. */
const shortened = (query: string) => JSON.stringify(query.length > 60 ? `${query.slice(0, 60)}...` : query);

function refuseBlankText({ text }: EmbedRequest | ProbeRequest, source: string): void {
  // Whatever is no text is refused later.
  if (typeof text === 'string') refuseBlank([text], () => source);
}

/** A blank query has no meaningful neighbours, but its results would look like an answer. */
export function refuseBlank(queries: readonly string[], nameOf: (index: number) => string): void {
  const blank = queries.findIndex(isBlank);
  if (blank < 0) return;
  const found = JSON.stringify(queries[blank]);
  throw new InputError({ source: nameOf(blank), expected: 'a query with text', found });
}
