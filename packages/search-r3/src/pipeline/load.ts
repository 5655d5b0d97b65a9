/** What commands and the library read before they embed: documents, and a model that embeds. */
import { join } from 'node:path';
import { loadCheckpoint } from '../checkpoint/index.js';
import { type Document, generateAtlas, loadCorpus } from '../dataset/index.js';
import { asPolicy, type Policy } from '../model/index.js';
import { ATLAS } from './data.js';

/** Documents of a collection: a BEIR folder, or the built-in world. Its queries and judgements are not read. */
export async function loadDocuments(source: string): Promise<Document[]> {
  return source === ATLAS ? [...generateAtlas().documents] : loadCorpus(join(source, 'corpus.jsonl'));
}

/** A model folder as a policy. @throws InputError where it is none, or a base model. */
export async function loadPolicy(folder: string): Promise<Policy> {
  return asPolicy(await loadCheckpoint(folder), folder);
}
