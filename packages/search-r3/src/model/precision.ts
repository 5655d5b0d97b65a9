/** Chooses how a model in files computes, and makes the weights for it: mapped as they are, or quantised and cached. */
import { dirname } from 'node:path';
import { z } from 'zod';
import {
  assertFinite,
  assertFiniteElements,
  EMBEDDING_NAME,
  type ModelFolder,
  openSafetensors,
  parameterCount,
  parameterShapes,
  type StoredFile,
  type TensorLocation,
  type TensorSource,
} from '../checkpoint/index.js';
import {
  CALIBRATION_TEXTS,
  type Closeness,
  type FrozenWeights,
  int8IsExact,
  type ParameterSource,
  type Precision,
  storedType,
  type TensorPlace,
  weightsInFiles,
  weightsInMemory,
  writeQuantized,
} from '../decoder/index.js';
import { exists, InputError, readJson, validate, writeJsonAtomic } from '../run/index.js';
import { CACHE_VARIABLE, quantizedPath } from './cache-folder.js';

/** `auto` takes int8 for a large model where the machine computes it exactly and the vectors stay close, else f32. */
export type PrecisionChoice = Precision | 'auto';

/** Parameters of a large model. Fewer gain nothing by int8 (measured at 5 million). */
export const LARGE = 50_000_000;
/** Below this mean cosine between hidden states and those of float32, `auto` falls back to float32. */
const CLOSE = 0.99;
/** Tokens of each calibration text. */
const TOKENS = 48;

export interface ChoosePrecisionOptions {
  precision: PrecisionChoice;
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called with what was chosen, where that is not what was asked for by name. */
  onNote?: ((text: string) => void) | undefined;
  /** Called while weights are quantised. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A model whose files are open. */
export interface OpenFiles {
  path: string;
  folder: ModelFolder;
  files: readonly StoredFile[];
}

/** @throws InputError naming a weight that is not finite; InterruptedError. */
export async function chooseWeights(
  model: OpenFiles,
  options: ChoosePrecisionOptions,
): Promise<FrozenWeights> {
  const { precision, onNote } = options;
  switch (precision) {
    case 'f32':
      return floatChoice(model);
    case 'int8':
    case 'int8-block':
    case 'int4':
      return (await quantized(model, precision, options)).weights;
    case 'auto': {
      if (parameterCount(model.folder.config) < LARGE) return floatChoice(model);
      if (!(await int8IsExact())) {
        onNote?.('Computing in f32: this CPU multiplies int8 inexactly (it has no VNNI instructions).');
        return floatChoice(model);
      }
      const { weights, closeness } = await quantized(model, 'int8', options);
      const cosine = closeness.mean.toFixed(4);
      if (!(closeness.mean >= CLOSE)) {
        onNote?.(`Computing in f32: hidden states in int8 are too far from it (mean cosine ${cosine}).`);
        return floatChoice(model);
      }
      onNote?.(`Computing in int8 (mean cosine to f32: ${cosine}). --precision f32 computes exactly.`);
      return weights;
    }
    default:
      return precision satisfies never;
  }
}

async function floatChoice({ path, folder }: OpenFiles): Promise<FrozenWeights> {
  const { config } = folder;
  const names = [...parameterShapes(config).keys()];
  const places = placesOf(names, folder);
  // In memory, small models compute to the last bit what they did in training.
  if (places.size < names.length || parameterCount(config) < LARGE) {
    const weights = await folder.readWeights();
    assertFinite({ weights }, path);
    return weightsInMemory({ config, weights });
  }
  await folder.checkWeights();
  return weightsInFiles('f32', config, places);
}

function placeOf(location: TensorLocation | undefined): TensorPlace | undefined {
  const type = location && storedType(location.dtype);
  return location === undefined || type === undefined ? undefined : { ...location, type };
}

async function quantized(
  model: OpenFiles,
  precision: Exclude<Precision, 'f32'>,
  { threads, signal, onProgress }: ChoosePrecisionOptions,
): Promise<{ weights: FrozenWeights; closeness: Closeness }> {
  const { path, folder, files } = model;
  const { config, tokenizer } = folder;
  const file = await quantizedPath(path, precision, { files, rows: config.vocabSize });
  const record = `${file}.json`;
  if (!((await exists(file)) && (await exists(record)))) {
    const encoded = await tokenizer.encodeBatch(CALIBRATION_TEXTS);
    const texts = encoded.map((ids) => ids.slice(0, TOKENS));
    const how = { precision, texts, threads, signal, onProgress };
    try {
      await writeJsonAtomic(record, await writeQuantized(file, sourceOf(model), how));
    } catch (error) {
      throw cacheProblem(error, dirname(file));
    }
  }
  const closeness = validate(closenessSchema, await readJson(record), record);
  const stored = await openSafetensors(file);
  const places = placesOf(stored.entries.keys(), stored);
  await stored.close();
  const embedding = placeOf(folder.locate(EMBEDDING_NAME));
  if (embedding !== undefined) places.set(EMBEDDING_NAME, embedding);
  const weights = weightsInFiles(precision, config, places);
  return { weights, closeness };
}

const closenessSchema = z.strictObject({ mean: z.number(), least: z.number() });

/** What the file system says, in words that help; other errors as they are. */
function cacheProblem(error: unknown, folder: string): unknown {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (typeof code !== 'string') return error;
  return new InputError({
    source: folder,
    expected: 'a folder with room for the quantised weights',
    found: code,
    remedy: `Set ${CACHE_VARIABLE} to another folder, or use --precision f32.`,
  });
}

/** Where tensors are; those that cannot be mapped are left out. */
function placesOf(names: Iterable<string>, from: Pick<TensorSource, 'locate'>): Map<string, TensorPlace> {
  const places = new Map<string, TensorPlace>();
  for (const name of names) {
    const place = placeOf(from.locate(name));
    if (place !== undefined) places.set(name, place);
  }
  return places;
}

/** The embedding is mapped from the model's own file where it can be. */
function sourceOf({ path, folder }: OpenFiles): ParameterSource {
  const embedding = placeOf(folder.locate(EMBEDDING_NAME)) === undefined ? 'float32' : undefined;
  return {
    config: folder.config,
    embedding,
    async read(name, start, out) {
      await folder.readParameter(name, start, out);
      assertFiniteElements(out, { source: path, field: name, start });
    },
  };
}
