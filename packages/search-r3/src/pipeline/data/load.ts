/** What commands and the library read first: collections, documents and models. */
import { join } from 'node:path';
import { assertFinite, type Checkpoint, type EmbeddingUse, loadCheckpoint } from '../../checkpoint/index.js';
import {
  atlasCollection,
  type Collection,
  type Document,
  generateAtlas,
  type LoadBeirOptions,
  loadBeir,
  loadCorpus,
} from '../../dataset/index.js';
import { Model, makePolicy, type Policy } from '../../model/index.js';
import { ATLAS } from '../settings.js';

/** The built-in world for `atlas`, else the BEIR folder at `source`. `seed` varies Atlas' splits. */
export async function loadCollection(
  source: string,
  seed = 0,
  options: LoadBeirOptions = {},
): Promise<Collection> {
  return source === ATLAS ? atlasCollection(generateAtlas(), seed) : loadBeir(source, options);
}

/** Documents of a collection: a BEIR folder, or the built-in world. Its queries and judgements are not read. */
export async function loadDocuments(source: string): Promise<Document[]> {
  return source === ATLAS ? [...generateAtlas().documents] : loadCorpus(join(source, 'corpus.jsonl'));
}

/**
 * A model: a folder or a GGUF file.
 * @param onNote called with each thing that is read differently from what the files say.
 * @param embedding how it is going to embed. Default: as `search_r3.json` records, or not at all.
 * @throws InputError where it does not hold a model, and naming the tensor where a weight is not finite.
 */
export async function loadModel(
  folder: string,
  onNote: (text: string) => void = () => {},
  embedding?: EmbeddingUse,
): Promise<Checkpoint> {
  const checkpoint = await loadCheckpoint(folder, { embedding });
  assertFinite(checkpoint, folder);
  for (const note of checkpoint.notes ?? []) onNote(`${folder}: ${note}`);
  return checkpoint;
}

/** A model to train further. @throws InputError as `loadModel` does, and if it has no prompt for reasoning. */
export async function loadPolicy(folder: string, onNote?: (text: string) => void): Promise<Model<Policy>> {
  return Model.of(makePolicy(await loadModel(folder, onNote, { reasoning: true })));
}
