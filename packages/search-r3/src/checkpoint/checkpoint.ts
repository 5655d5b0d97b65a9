/** A model: configuration, weights, tokenizer and prompts, loaded together, and saved as a Hugging Face folder. */
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { exists, type FolderKind, publishFolder, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { ModelConfig } from './config.js';
import { type GenerationConfig, generationEosIds, type OpenModelOptions, openModel } from './model-folder.js';
import { parameterShapes, type Weights } from './parameters.js';
import { embedTokenId } from './prompt-ids.js';
import { type RetrieverFile, saveRetrieverFile } from './retriever-file.js';
import { writeWeights } from './safetensors-writer.js';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, WEIGHTS_FILE, WEIGHTS_INDEX } from './weight-files.js';

/** A model in memory. Training replaces its fields. */
export interface Checkpoint extends Omit<RetrieverFile, 'prompts'> {
  config: ModelConfig;
  /** Exactly the tensors of `parameterShapes(config)`. */
  weights: Weights;
  tokenizer: Tokenizer;
  generationConfig?: GenerationConfig | undefined;
  /** Undefined in a base model that was never made a retriever. */
  prompts?: RetrieverFile['prompts'] | undefined;
  /** Sentences about whatever was read differently from what the folder's files say. Not saved. */
  notes?: readonly string[] | undefined;
}

/**
 * Loads a Hugging Face folder as transformers does (docs/decisions/010-model-folders.md), or a GGUF file
 * (docs/decisions/011-gguf-files.md). If the tokenizer has more ids than the embedding has rows, rows are added.
 * @param path a folder, a GGUF file, or a folder with one GGUF file and no `config.json`.
 * @throws InputError if a file is missing or invalid, or if parameters are missing or their shapes differ from the
 * configuration.
 */
export async function loadCheckpoint(path: string, options: OpenModelOptions = {}): Promise<Checkpoint> {
  const model = await openModel(path, options);
  try {
    const { config, tokenizer, generationConfig, retriever, notes } = model;
    const weights = await model.readWeights();
    return {
      ...{ config, weights, tokenizer, generationConfig },
      ...retriever,
      ...(notes.length > 0 && { notes }),
    };
  } finally {
    await model.close();
  }
}

const saveSchema = z.strictObject({
  /** How weights are stored. Default f32, which is exact. */
  dtype: z.enum(['f32', 'bf16', 'f16']).default('f32'),
  /** Replace an existing model (and nothing else), which stays until the new one is complete. Default false. */
  overwrite: z.boolean().default(false),
  /** Split larger weights into several files. Default 5e9. */
  maxShardBytes: z.number().positive().default(5e9),
});

export type SaveCheckpointOptions = z.input<typeof saveSchema>;

/** What `saveCheckpoint` replaces. */
export const MODEL_FOLDER: FolderKind = {
  name: 'a model',
  is: async (folder) => {
    const has = (name: string) => exists(join(folder, name));
    if (await has(ADAPTER_CONFIG)) return has(ADAPTER_WEIGHTS);
    return (await has('config.json')) && ((await has(WEIGHTS_FILE)) || (await has(WEIGHTS_INDEX)));
  },
};

const TORCH_NAMES = { f32: 'float32', bf16: 'bfloat16', f16: 'float16' } as const;

/**
 * Writes a checkpoint atomically as a Hugging Face folder.
 * @throws InputError if the folder holds something other than a model, or a model and `overwrite` is not set, or if
 * checkpoint and configuration disagree.
 */
export async function saveCheckpoint(
  folder: string,
  checkpoint: Checkpoint,
  options: SaveCheckpointOptions = {},
): Promise<void> {
  const { dtype, overwrite, maxShardBytes } = validate(saveSchema, options, 'saveCheckpoint options');
  const { config, weights, tokenizer, generationConfig, prompts } = checkpoint;
  refuseMissingRows(config, tokenizer, folder);
  if (prompts?.embedToken !== undefined) embedTokenId(tokenizer, prompts.embedToken, folder);
  refuseWrongWeights(weights, config, folder);
  // It may name a file that is not written.
  const { transformers_weights: _, ...raw } = config.raw;
  // The newer and the older name; transformers reads the former first.
  const named = ['dtype', 'torch_dtype'].filter((name) => name in raw);
  const dtypes = (named.length > 0 ? named : ['torch_dtype']).map((name) => [name, TORCH_NAMES[dtype]]);
  await publishFolder(
    folder,
    async (at) => {
      await writeJsonAtomic(join(at, 'config.json'), { ...raw, ...Object.fromEntries(dtypes) });
      await tokenizer.save(at);
      if (generationConfig !== undefined) {
        await writeJsonAtomic(join(at, 'generation_config.json'), generationConfig);
      }
      if (prompts !== undefined) await saveRetrieverFile(at, { ...checkpoint, prompts });
      await writeWeights(at, weights, { dtype, maxShardBytes });
    },
    { replace: overwrite, kind: MODEL_FOLDER },
  );
}

function refuseMissingRows(config: ModelConfig, tokenizer: Tokenizer, source: string): void {
  if (tokenizer.vocabSize <= config.vocabSize) return;
  throw new InputError({
    source: `${source}/tokenizer.json`,
    expected: `ids below the ${config.vocabSize} of config.json's vocab_size`,
    found: `ids up to ${tokenizer.vocabSize - 1} (${tokenizer.tokenOf(tokenizer.vocabSize - 1)})`,
    remedy: 'Give the embedding a row for each id first.',
  });
}

function refuseWrongWeights(weights: Weights, config: ModelConfig, source: string): void {
  const shapes = parameterShapes(config);
  const wrong =
    [...shapes].find(([name, shape]) => weights.get(name)?.shape.join() !== shape.join())?.[0] ??
    [...weights.keys()].find((name) => !shapes.has(name));
  if (wrong === undefined) return;
  const show = (shape: readonly number[] | undefined) =>
    shape === undefined ? 'no such tensor' : `[${shape.join(', ')}]`;
  throw new InputError({
    source,
    field: wrong,
    expected: show(shapes.get(wrong)),
    found: show(weights.get(wrong)?.shape),
  });
}

/** Ids that end generation, from generation_config.json, config.json and the tokenizer. */
export function stopIds({
  config,
  generationConfig,
  tokenizer,
}: Pick<Checkpoint, 'config' | 'generationConfig' | 'tokenizer'>): number[] {
  const ids = [...generationEosIds(generationConfig), ...config.eosIds];
  if (tokenizer.eosId !== undefined) ids.push(tokenizer.eosId);
  return [...new Set(ids)].filter((id) => id < config.vocabSize).sort((a, b) => a - b);
}
