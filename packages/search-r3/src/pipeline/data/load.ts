/** What commands and the library read first: collections, documents and models. */
import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import {
  assertFinite,
  type Checkpoint,
  type EmbeddingUse,
  isAdapterFolder,
  loadCheckpoint,
  loadRetrieverFile,
  PROMPTS_FILE,
  type PromptOverrides,
  type Prompts,
  presetFormat,
  resolvePrompts,
} from '../../checkpoint/index.js';
import {
  atlasCollection,
  type Collection,
  type Document,
  generateAtlas,
  type LoadBeirOptions,
  loadBeir,
  loadCorpus,
} from '../../dataset/index.js';
import { type LoadTrainableOptions, Model, makePolicy, type Policy } from '../../model/index.js';
import { exists, InputError } from '../../run/index.js';
import type { LoraOptions } from '../../train/index.js';
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

/** What decides how a model to be trained is loaded. */
export interface TrainingUse {
  lora?: LoraOptions | undefined;
  seed: number;
  /** Called with each thing that is read differently from what the files say. */
  onNote?: ((text: string) => void) | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * A base model that stage 1 starts from: all of its weights in memory, or with `lora` an adapter on weights in files.
 * @param promptsFor the prompts that a model gets which has these; undefined leaves them, or gives it the defaults.
 * @throws InputError as `loadModel`, and for an adapter, which stage 1 does not start from.
 */
export async function loadStart(
  path: string,
  promptsFor: (own: Prompts | undefined) => PromptOverrides | undefined,
  use: TrainingUse,
): Promise<Model<Policy>> {
  if (await isAdapterFolder(path)) {
    throw new InputError({
      source: path,
      expected: 'a model of its own to start from',
      found: 'an adapter',
      remedy: 'Merge it into its base first: search-r3 merge.',
    });
  }
  const { lora, onNote } = use;
  if (lora === undefined) {
    const base = await loadModel(path, onNote);
    return Model.of(makePolicy(base, promptsFor(base.prompts)));
  }
  const folder = (await stat(path)).isDirectory() ? path : dirname(path);
  const own = (await exists(join(folder, PROMPTS_FILE))) ? await loadRetrieverFile(folder) : undefined;
  const given = promptsFor(own?.prompts);
  const recorded =
    given === undefined ? (own ?? presetFormat('search-r3')) : { prompts: resolvePrompts(given) };
  return Model.loadTrainable(path, { ...adapterUse(lora, use), recorded });
}

/** A model to train further. @throws InputError as `loadModel` does, and if it has no prompt for reasoning. */
export async function loadPolicy(path: string, use: Partial<TrainingUse> = {}): Promise<Model<Policy>> {
  const { lora, seed = 0, ...rest } = use;
  if (await isAdapterFolder(path)) {
    return Model.loadTrainable(path, { ...rest, precision: lora?.base, sampling: samplingOf(lora) });
  }
  if (lora !== undefined) return Model.loadTrainable(path, adapterUse(lora, { ...rest, seed }));
  return Model.of(makePolicy(await loadModel(path, use.onNote, { reasoning: true })));
}

const adapterUse = (
  { base, rollouts, ...shape }: LoraOptions,
  { seed, onNote, signal }: TrainingUse,
): LoadTrainableOptions => ({
  precision: base,
  sampling: samplingOf({ rollouts }),
  adapter: { ...shape, seed },
  ...{ onNote, signal },
});

const samplingOf = (lora: Pick<LoraOptions, 'rollouts'> | undefined) =>
  lora === undefined || lora.rollouts === 'base' ? undefined : lora.rollouts;
