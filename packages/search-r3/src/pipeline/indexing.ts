/** Indexing a corpus with a model, and searching the index with the same model. */
import { join } from 'node:path';
import { checkpointFingerprint, loadCheckpoint, promptsFingerprint } from '../checkpoint/index.js';
import { type Document, documentText, generateAtlas, loadCorpus } from '../dataset/index.js';
import { Embedder, type Embedding } from '../embed/index.js';
import { matrixOf } from '../evaluate/index.js';
import { asPolicy, type Policy } from '../model/index.js';
import { assertVacant, type ProgressReporter, ProgressTracker } from '../run/index.js';
import {
  assertCompatible,
  type IndexFingerprint,
  openIndex,
  readManifest,
  saveIndex,
} from '../vectors/index.js';
import { ATLAS } from './data.js';

/** Documents of a collection: a BEIR folder, or the built-in world. Its queries and judgements are not read. */
export async function loadDocuments(source: string): Promise<Document[]> {
  return source === ATLAS ? [...generateAtlas().documents] : loadCorpus(join(source, 'corpus.jsonl'));
}

/** A model folder as a policy. @throws InputError where it is none, or a base model. */
export async function loadPolicy(folder: string): Promise<Policy> {
  return asPolicy(await loadCheckpoint(folder), folder);
}

function fingerprintOf(policy: Policy): IndexFingerprint {
  return { checkpoint: checkpointFingerprint(policy), prompts: promptsFingerprint(policy.prompts) };
}

export interface IndexOptions {
  model: string;
  data: string;
  /** Folder of the index. */
  out: string;
  /** Replace an index that is there. Default false. */
  overwrite?: boolean;
  /** Longest document in tokens of its whole prompt. Default 512. */
  maxLength?: number;
  /** Refuse longer documents instead of cutting them. Default false. */
  strict?: boolean;
  progress?: ProgressReporter;
  signal?: AbortSignal;
}

export interface IndexSummary {
  index: string;
  documents: number;
  dimension: number;
  /** Documents that were cut to fit. */
  truncated: number;
}

/** Documents embedded at once: a bound on the token ids held. */
const PIECE = 1024;

/** Embeds a corpus and writes the index, whole or not at all. */
export async function indexCollection(options: IndexOptions): Promise<IndexSummary> {
  const { model, data, out, overwrite = false, maxLength, strict, progress, signal } = options;
  // Only an index is ever replaced, and an occupied folder is told of before the work, not after it.
  if (overwrite) await readManifest(out);
  else await assertVacant(out);
  const documents = await loadDocuments(data);
  const policy = await loadPolicy(model);
  const embedder = await Embedder.create(policy);
  const steps = documents.length;
  const tracker = new ProgressTracker({ stage: 'documents', steps, ...(progress && { reporter: progress }) });
  const embedded: Embedding[] = [];
  try {
    for (let at = 0; at < documents.length; at += PIECE) {
      const piece = documents.slice(at, at + PIECE);
      const result = await embedder.embed(piece.map(documentText), {
        role: 'document',
        ...(maxLength !== undefined && { maxLength }),
        ...(strict !== undefined && { strict }),
        ...(signal && { signal }),
        nameOf: (i) => `document ${piece[i]?.id}`,
        onProgress: (done) => tracker.update(at + done),
      });
      for (const embedding of result) embedded.push(embedding);
    }
  } finally {
    await embedder.dispose();
  }
  const { dimension } = embedder;
  const vectors = matrixOf(embedded, dimension);
  const contents = { vectors, dimension, documents: documents.map((document) => ({ ...document })) };
  await saveIndex(out, { ...contents, fingerprint: fingerprintOf(policy) }, { overwrite });
  const truncated = embedded.filter((embedding) => embedding.truncated).length;
  return { index: out, documents: documents.length, dimension, truncated };
}

export interface SearchOptions {
  model: string;
  index: string;
  queries: readonly string[];
  /** Reason before embedding. Default true. */
  reasoning?: boolean;
  /** Documents per query. Default 10. */
  k?: number;
  maxLength?: number;
  maxNewTokens?: number;
  strict?: boolean;
  signal?: AbortSignal;
}

export interface FoundDocuments {
  query: string;
  /** The query was cut to fit. */
  truncated: boolean;
  /** What was embedded behind the query, and whether the model ended it by itself; null without reasoning. */
  reasoning: string | null;
  completed: boolean | null;
  results: { rank: number; id: string; score: number; title?: string; text: string }[];
}

/** Searches an index with the model that made it. @throws InputError where another model made it. */
export async function searchIndex(options: SearchOptions): Promise<FoundDocuments[]> {
  const { reasoning = true, k = 10, queries, maxLength, maxNewTokens, strict, signal } = options;
  const manifest = await readManifest(options.index);
  const policy = await loadPolicy(options.model);
  const model = { ...fingerprintOf(policy), dimension: policy.config.hiddenSize };
  assertCompatible(manifest, model, options.index);
  const index = await openIndex(options.index);
  const embedder = await Embedder.create(policy);
  try {
    const embedded = await embedder.embed(queries, {
      role: 'query',
      reasoning,
      ...(maxLength !== undefined && { maxLength }),
      ...(maxNewTokens !== undefined && { maxNewTokens }),
      ...(strict !== undefined && { strict }),
      ...(signal && { signal }),
      nameOf: (i) => `query ${JSON.stringify(queries[i])}`,
    });
    const found = await index.search(matrixOf(embedded, embedder.dimension), k);
    return embedded.map((embedding, i) => ({
      query: queries[i] as string,
      truncated: embedding.truncated,
      reasoning: embedding.reasoning ?? null,
      completed: embedding.completed ?? null,
      results: (found[i] ?? []).map(({ document: { id, title, text }, score }, place) => ({
        rank: place + 1,
        id,
        score,
        ...(title !== undefined && { title }),
        text,
      })),
    }));
  } finally {
    await embedder.dispose();
    await index.dispose();
  }
}
