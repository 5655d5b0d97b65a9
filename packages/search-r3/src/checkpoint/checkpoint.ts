/** A model in a Hugging Face folder: configuration, weights, tokenizer, prompts; loaded and saved as one thing. */
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import {
  exists,
  type FolderKind,
  publishFolder,
  readIfThere,
  readJson,
  writeJsonAtomic,
} from '../run/files.js';
import { validate } from '../run/validate.js';
import { type LoadTokenizerOptions, Tokenizer } from '../tokenizer/index.js';
import { loadConfig, type ModelConfig } from './config.js';
import { EMBEDDING_NAME, HEAD_NAME, parameterShapes, type Weights } from './parameters.js';
import { embedTokenId } from './prompt-ids.js';
import {
  type LengthLimits,
  loadPrompts,
  PROMPTS_FILE,
  type Prompts,
  type QuerySplit,
  savePrompts,
} from './prompts.js';
import { openWeights, type TensorSource, WEIGHTS_FILE, WEIGHTS_INDEX } from './safetensors.js';
import { writeWeights } from './safetensors-writer.js';

const generationSchema = z.looseObject({
  eos_token_id: z.union([z.int().nonnegative(), z.array(z.int().nonnegative())]).nullish(),
});

/** `generation_config.json`; fields not used here are kept. */
export type GenerationConfig = z.output<typeof generationSchema>;

/** A model in memory. The fields are replaced as training goes on. */
export interface Checkpoint {
  config: ModelConfig;
  /** Exactly the tensors of `parameterShapes(config)`. */
  weights: Weights;
  tokenizer: Tokenizer;
  generationConfig?: GenerationConfig | undefined;
  /** Undefined in a base model that was never made a retriever. */
  prompts?: Prompts | undefined;
  /** Lengths it was trained with; undefined where it was not trained here, or by a version that did not keep them. */
  limits?: LengthLimits | undefined;
  /** How the queries it was trained with were shared out; undefined as above. */
  split?: QuerySplit | undefined;
}

/** Old Llama files hold the rotary table, which follows from the configuration. */
const ROTARY_TABLE = /^model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq$/;

/**
 * Loads a Hugging Face folder.
 * @throws InputError where a file is missing or wrong, where tensors are missing, unexpected or of another shape than
 *   the configuration's, and where the tokenizer has ids the embedding has no rows for.
 */
export async function loadCheckpoint(
  folder: string,
  options: LoadTokenizerOptions = {},
): Promise<Checkpoint> {
  const config = await loadConfig(folder);
  const tokenizer = await Tokenizer.load(folder, options);
  refuseMismatch(config, tokenizer, folder);
  const generationConfig = await readIfThere(join(folder, 'generation_config.json'), async (path) =>
    checkedGeneration(validate(generationSchema, await readJson(path), path), config, path),
  );
  const retriever = await readIfThere(join(folder, PROMPTS_FILE), () => loadPrompts(folder));
  const { prompts, limits, split } = retriever ?? {};
  if (prompts !== undefined) embedTokenId(tokenizer, prompts, join(folder, 'tokenizer.json'));
  const weights = await loadWeights(folder, config);
  return { config, weights, tokenizer, generationConfig, prompts, limits, split };
}

function checkedGeneration(
  generation: GenerationConfig,
  config: ModelConfig,
  source: string,
): GenerationConfig {
  const outside = eosIds(generation).find((id) => id >= config.vocabSize);
  if (outside === undefined) return generation;
  const expected = `ids below the vocab_size ${config.vocabSize} of config.json`;
  throw new InputError({ source, field: 'eos_token_id', expected, found: String(outside) });
}

function eosIds(generation: GenerationConfig | undefined): number[] {
  const listed = generation?.eos_token_id ?? [];
  return Array.isArray(listed) ? listed : [listed];
}

function refuseMismatch(config: ModelConfig, tokenizer: Tokenizer, source: string): void {
  if (tokenizer.vocabSize <= config.vocabSize) return;
  throw new InputError({
    source: `${source}/tokenizer.json`,
    expected: `ids below the ${config.vocabSize} of config.json's vocab_size`,
    found: `ids up to ${tokenizer.vocabSize - 1} (${tokenizer.tokenOf(tokenizer.vocabSize - 1)})`,
    remedy: 'The tokenizer belongs to another model, or was extended without it.',
  });
}

/** Reads a folder's weights as float32. @throws InputError unless they are exactly those of `config`. */
export async function loadWeights(folder: string, config: ModelConfig): Promise<Weights> {
  const source = await openWeights(folder);
  try {
    const shapes = parameterShapes(config);
    refuseWrongNames(source, shapes, config, folder);
    const weights: Weights = new Map();
    for (const [name, shape] of shapes) {
      const found = source.entries.get(name)?.shape ?? [];
      if (found.join() !== shape.join()) {
        const text = (dimensions: readonly number[]) => `[${dimensions.join(', ')}]`;
        const expected = `${text(shape)}, from config.json`;
        throw new InputError({ source: folder, field: name, expected, found: text(found) });
      }
      weights.set(name, await source.read(name));
    }
    if (config.tieWordEmbeddings && source.entries.has(HEAD_NAME)) {
      await refuseUntiedHead(source, weights, folder);
    }
    return weights;
  } finally {
    await source.close();
  }
}

function refuseWrongNames(
  source: TensorSource,
  shapes: ReadonlyMap<string, number[]>,
  config: ModelConfig,
  folder: string,
): void {
  const missing = [...shapes.keys()].filter((name) => !source.entries.has(name));
  const tolerated = (name: string) =>
    ROTARY_TABLE.test(name) || (name === HEAD_NAME && config.tieWordEmbeddings);
  const unexpected = [...source.entries.keys()].filter((name) => !shapes.has(name) && !tolerated(name));
  if (missing.length === 0 && unexpected.length === 0) return;
  const list = (names: string[]) =>
    names.slice(0, 8).join(', ') + (names.length > 8 ? `, ... (${names.length} in all)` : '');
  const parts = [
    ...(missing.length > 0 ? [`${list(missing)} missing`] : []),
    ...(unexpected.length > 0 ? [`${list(unexpected)} unexpected`] : []),
  ];
  const onlyHead = missing.length === 1 && missing[0] === HEAD_NAME;
  throw new InputError({
    source: folder,
    field: 'tensors',
    expected: `the ${shapes.size} of a ${config.architecture} of ${config.layers} layers`,
    found: parts.join('; '),
    ...(onlyHead
      ? { remedy: 'If the head is the embedding, config.json must say tie_word_embeddings: true.' }
      : {}),
  });
}

/** A tied head may be stored beside the embedding, but then it must be it: which of two would the model be? */
async function refuseUntiedHead(source: TensorSource, weights: Weights, folder: string): Promise<void> {
  const head = (await source.read(HEAD_NAME)).data;
  const embedding = weights.get(EMBEDDING_NAME)?.data;
  if (embedding?.length === head.length && embedding.every((x, i) => Object.is(x, head[i]))) return;
  throw new InputError({
    source: folder,
    field: HEAD_NAME,
    expected: `the values of ${EMBEDDING_NAME}, since config.json says tie_word_embeddings: true`,
    found: 'others',
  });
}

const saveSchema = z.strictObject({
  /** How weights are stored. Default f32, exactly. */
  dtype: z.enum(['f32', 'bf16', 'f16']).default('f32'),
  /** Replace a model that is there, and nothing else; it stays until the new one is complete. Default false. */
  overwrite: z.boolean().default(false),
  /** Split the weights into several files beyond this. Default 5e9. */
  maxShardBytes: z.number().positive().default(5e9),
});

export type SaveCheckpointOptions = z.input<typeof saveSchema>;

/** What `saveCheckpoint` replaces. */
export const MODEL_FOLDER: FolderKind = {
  name: 'a model',
  is: async (folder) =>
    (await exists(join(folder, 'config.json'))) &&
    ((await exists(join(folder, WEIGHTS_FILE))) || (await exists(join(folder, WEIGHTS_INDEX)))),
};

const TORCH_NAMES = { f32: 'float32', bf16: 'bfloat16', f16: 'float16' } as const;

/**
 * Writes a checkpoint as a Hugging Face folder, which appears whole or not at all.
 * @throws InputError where something else, or without `overwrite` a model, is there, and where checkpoint and configuration
 *   disagree.
 */
export async function saveCheckpoint(
  folder: string,
  checkpoint: Checkpoint,
  options: SaveCheckpointOptions = {},
): Promise<void> {
  const { dtype, overwrite, maxShardBytes } = validate(saveSchema, options, 'saveCheckpoint options');
  const { config, weights, tokenizer, generationConfig, prompts, limits, split } = checkpoint;
  refuseMismatch(config, tokenizer, folder);
  if (prompts !== undefined) embedTokenId(tokenizer, prompts, folder);
  refuseWrongWeights(weights, config, folder);
  const dtypeField = 'dtype' in config.raw ? 'dtype' : 'torch_dtype';
  await publishFolder(
    folder,
    async (at) => {
      await writeJsonAtomic(join(at, 'config.json'), { ...config.raw, [dtypeField]: TORCH_NAMES[dtype] });
      await tokenizer.save(at);
      if (generationConfig !== undefined) {
        await writeJsonAtomic(join(at, 'generation_config.json'), generationConfig);
      }
      if (prompts !== undefined) await savePrompts(at, { prompts, limits, split });
      await writeWeights(at, weights, { dtype, maxShardBytes });
    },
    { replace: overwrite, kind: MODEL_FOLDER },
  );
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

/** Ids that end a generation, by generation_config.json, config.json and the tokenizer together. */
export function stopIds({ config, generationConfig, tokenizer }: Checkpoint): number[] {
  const ids = [...eosIds(generationConfig), ...config.eosIds];
  if (tokenizer.eosId !== undefined) ids.push(tokenizer.eosId);
  return [...new Set(ids)].sort((a, b) => a - b);
}
