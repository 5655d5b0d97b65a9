/** What commands and the library read before they embed: documents, and a model that embeds. */
import { join } from 'node:path';
import { assertFinite, type Checkpoint, loadCheckpoint } from '../checkpoint/index.js';
import { type Document, generateAtlas, loadCorpus } from '../dataset/index.js';
import { asPolicy, type Policy } from '../model/index.js';
import { ATLAS } from './data.js';

/** Documents of a collection: a BEIR folder, or the built-in world. Its queries and judgements are not read. */
export async function loadDocuments(source: string): Promise<Document[]> {
  return source === ATLAS ? [...generateAtlas().documents] : loadCorpus(join(source, 'corpus.jsonl'));
}

/** A model folder. @throws InputError where it is none, and naming the tensor where a weight is no number. */
export async function loadModel(folder: string): Promise<Checkpoint> {
  const checkpoint = await loadCheckpoint(folder);
  assertFinite(checkpoint, folder);
  return checkpoint;
}

/** A model folder as a policy. @throws InputError as `loadModel` does, and where it is a base model. */
export async function loadPolicy(folder: string): Promise<Policy> {
  return asPolicy(await loadModel(folder), folder);
}
