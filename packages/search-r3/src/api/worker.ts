/** The thread behind a `RemoteRetriever` or a job. It may run several calls at a time. */
import type { Embedding, EmbedOptions } from '../embed/index.js';
import { serveWorker } from '../run/workers/index.js';
import type { DocumentInput } from '../vectors/index.js';
import { type JobName, type JobOptions, type Jobs, runJob } from './jobs.js';
import { type LoadOptions, type LocalIndex, LocalRetriever } from './local-retriever.js';
import type { FoundDocuments, IndexOptions, IndexSummary, SearchOptions } from './types.js';

export interface RetrieverWorker {
  /** Once, before anything but `runJob`. */
  load(folder: string, options: LoadOptions): Promise<{ dimension: number }>;
  /** @param names names of the texts in errors, if the caller gave any. */
  embed(
    texts: readonly string[],
    names: readonly string[] | undefined,
    options: Omit<EmbedOptions, 'nameOf'>,
  ): Promise<Embedding[]>;
  index(documents: string | readonly DocumentInput[], options: IndexOptions): Promise<IndexSummary>;
  /** Opens an index; `index` is its number for the calls below. */
  open(folder: string): Promise<{ index: number; size: number }>;
  search(index: number, queries: readonly string[], options: SearchOptions): Promise<FoundDocuments[]>;
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
  if (found === undefined) throw new Error('search: the index was disposed of');
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
    index: (documents, options) => loaded().index(documents, options),
    open: async (folder) => {
      const index = await loaded().open(folder);
      return { index: indexes.push(index) - 1, size: index.size };
    },
    search: (index, queries, options) => opened(index).search(queries, options),
    close: async (index) => {
      await opened(index).dispose();
      indexes[index] = undefined;
    },
    runJob,
  },
  async () => retriever?.dispose(),
);
