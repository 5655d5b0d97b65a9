/** The thread behind a `RemoteRetriever` or a job. It may run several calls at a time. */
import type { Embedding, EmbedOptions, EmbedRequest, EmbedResult, ProbeRequest } from '../embed/index.js';
import { serveWorker } from '../run/workers/index.js';
import type { DocumentInput, Filter } from '../vectors/index.js';
import { type JobName, type JobOptions, type Jobs, runJob } from './jobs.js';
import { type LoadOptions, type LocalIndex, LocalRetriever } from './local-retriever.js';
import type {
  DocumentOptions,
  FoundDocuments,
  IndexOptions,
  IndexSummary,
  SearchOptions,
  UpdateOptions,
  UpdateSummary,
  WriteSummary,
} from './types.js';

/** A folder, or the documents themselves. */
type Documents = string | readonly DocumentInput[];

export interface RetrieverWorker {
  /** Once, before anything but `runJob`. */
  load(folder: string, options: LoadOptions): Promise<{ dimension: number }>;
  /** @param names names of the texts in errors, if the caller gave any. */
  embed(
    texts: readonly string[],
    names: readonly string[] | undefined,
    options: Omit<EmbedOptions, 'nameOf'>,
  ): Promise<Embedding[]>;
  submit(request: EmbedRequest): Promise<EmbedResult>;
  probe(request: ProbeRequest): Promise<Float32Array>;
  index(documents: Documents, options: IndexOptions): Promise<IndexSummary>;
  /**
   * Opens an index and returns its number for the calls below, which do as `SearchIndex`.
   * @param notes callbacks end with their call, so that of `load` does not serve here.
   */
  open(folder: string, notes: Pick<LoadOptions, 'onNote'>): Promise<number>;
  count(index: number, filter?: Filter): Promise<number>;
  search(index: number, queries: readonly string[], options: SearchOptions): Promise<FoundDocuments[]>;
  add(index: number, documents: Documents, options: DocumentOptions): Promise<WriteSummary>;
  upsert(index: number, documents: Documents, options: DocumentOptions): Promise<WriteSummary>;
  update(index: number, documents: Documents, options: UpdateOptions): Promise<UpdateSummary>;
  delete(index: number, which: readonly string[] | Filter): Promise<number>;
  close(index: number): Promise<void>;
  runJob<J extends JobName>(
    name: J,
    config: Jobs[J]['config'],
    options: JobOptions,
  ): Promise<Jobs[J]['result']>;
}

let retriever: LocalRetriever | undefined;
/** By number; undefined once closed. */
const indexes: (LocalIndex | undefined)[] = [];

function loaded(): LocalRetriever {
  if (retriever === undefined) throw new Error('internal: no model');
  return retriever;
}

function opened(index: number): LocalIndex {
  const found = indexes[index];
  if (found === undefined) throw new Error('the index was disposed of');
  return found;
}

serveWorker<RetrieverWorker>(
  {
    load: async (folder, options) => {
      retriever = await LocalRetriever.load(folder, options);
      return { dimension: retriever.dimension };
    },
    embed: (texts, names, options) => {
      const named = names && { nameOf: (index: number) => names[index] as string };
      return loaded().embed(texts, { ...options, ...named });
    },
    submit: (request) => loaded().submit(request),
    probe: (request) => loaded().probe(request),
    index: (documents, options) => loaded().index(documents, options),
    open: async (folder, notes) => {
      const index = await loaded().open(folder, notes);
      return indexes.push(index) - 1;
    },
    count: (index, filter) => opened(index).count(filter),
    search: (index, queries, options) => opened(index).search(queries, options),
    add: (index, documents, options) => opened(index).add(documents, options),
    upsert: (index, documents, options) => opened(index).upsert(documents, options),
    update: (index, documents, options) => opened(index).update(documents, options),
    delete: (index, which) => opened(index).delete(which),
    close: async (index) => {
      await opened(index).dispose();
      indexes[index] = undefined;
    },
    runJob,
  },
  async () => retriever?.dispose(),
);
