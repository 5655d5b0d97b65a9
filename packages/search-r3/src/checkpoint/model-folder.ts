/**
 * A model, in a folder or a GGUF file, except for the values of its weights: everything that decides whether it can be loaded. Loading and
 * inspecting both start here, so they reject a folder with the same message.
 */
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { exists, readIfThere, readJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { type LoadTokenizerOptions, Tokenizer } from '../tokenizer/index.js';
import { idsWithoutRow, type ModelConfig, type ReadConfig, readConfigFile, withVocabSize } from './config.js';
import { assertFinite } from './finite.js';
import { ggufFile } from './gguf/find.js';
import { openGguf } from './gguf/model.js';
import type { GgufTensors } from './gguf/tensors.js';
import { instructionNotes } from './instructions.js';
import { parameterShapes, type Weights } from './parameters.js';
import { embedTokenId } from './prompt-ids.js';
import { loadPrompts, PROMPTS_FILE, type RetrieverFile, resolvePrompts } from './prompts.js';
import type { TensorSource } from './safetensors.js';
import { type ConfigOrigin, findParameters } from './stored-parameters.js';
import { addMeanRows } from './token-tables.js';
import { openWeights } from './weight-files.js';

const generationSchema = z.looseObject({
  /** -1 is none. */
  eos_token_id: z.union([z.int().min(-1), z.array(z.int().min(-1))]).nullish(),
});

/** `generation_config.json`; fields not used here are kept. */
export type GenerationConfig = z.output<typeof generationSchema>;

/** The ids that end generation, from `generation_config.json`. */
export function generationEosIds(generation: GenerationConfig | undefined): number[] {
  const ids = generation?.eos_token_id ?? [];
  return (Array.isArray(ids) ? ids : [ids]).filter((id) => id !== -1);
}

/** A model whose weights can be read. Close it after use. */
export interface ModelFolder {
  /** Its embedding has a row for each id of the tokenizer. */
  config: ModelConfig;
  tokenizer: Tokenizer;
  generationConfig?: GenerationConfig | undefined;
  /** Undefined for a base model. */
  retriever?: RetrieverFile | undefined;
  /** Sentences about whatever was read differently from what the files say. */
  notes: string[];
  /** The tensors as stored; those of a GGUF file also tell where their blocks are. */
  stored: TensorSource | GgufTensors;
  /** All parameters as float32, exactly those of `parameterShapes(config)`. */
  readWeights(): Promise<Weights>;
  /** Reads every parameter, one at a time. @throws InputError if one holds a value that is not finite. */
  checkWeights(): Promise<void>;
  close(): Promise<void>;
}

/** What describes a model, before it is known whether its weights fit. */
interface Description {
  declared: ReadConfig;
  shapesFrom: ConfigOrigin['shapesFrom'];
  tokenizer: Tokenizer;
  generationConfig: GenerationConfig | undefined;
  retriever: RetrieverFile | undefined;
  openStored: () => Promise<TensorSource | GgufTensors>;
}

/**
 * Opens a model: a Hugging Face folder, a GGUF file, or a folder with one GGUF file and no `config.json`.
 * @throws InputError if a file is missing or invalid, or if parameters are missing or their shapes differ from the
 * configuration.
 */
export async function openModel(path: string, options: LoadTokenizerOptions = {}): Promise<ModelFolder> {
  const gguf = await ggufFile(path);
  const { declared, shapesFrom, tokenizer, generationConfig, retriever, openStored } =
    gguf === undefined ? await describeFolder(path, options) : await describeGguf(gguf, options);
  const stored = await openStored();
  try {
    const notes = [...declared.notes, ...tokenizer.notes];
    if (retriever !== undefined) {
      embedTokenId(tokenizer, retriever.prompts, gguf ?? join(path, 'tokenizer.json'));
    }
    notes.push(...instructionNotes(tokenizer, retriever?.prompts ?? resolvePrompts()));
    const from = { source: path, shapesFrom, leftOut: declared.leftOut };
    const found = await findParameters(stored, declared.config, from);
    notes.push(...found.notes);
    const rows = declared.config.vocabSize;
    const ids = tokenizer.vocabSize;
    const config = ids > rows ? withVocabSize(found.config, ids) : found.config;
    if (ids > rows) {
      notes.push(
        `The tokenizer has ${ids} ids but the embedding has ${rows} rows: ${ids - rows} rows are added, each the mean of the others.`,
      );
    }
    notes.push(...unusedIds(config, generationConfig));
    const { places } = found;
    return {
      config,
      tokenizer,
      generationConfig,
      retriever,
      notes,
      stored,
      readWeights: async () => {
        const weights = await readParameters(stored, found);
        if (ids > rows) addMeanRows(weights, rows, rows, ids);
        return weights;
      },
      checkWeights: async () => {
        for (const [name, place] of places) {
          assertFinite({ weights: new Map([[name, await stored.read(place)]]) }, path);
        }
      },
      close: () => stored.close(),
    };
  } catch (error) {
    await stored.close();
    throw error;
  }
}

async function describeFolder(folder: string, options: LoadTokenizerOptions): Promise<Description> {
  const declared = await readConfigFile(folder);
  // A model trained here was saved with its whole tokenizer pipeline, even by versions that did not record this.
  const asWritten = options.asWritten ?? (await exists(join(folder, PROMPTS_FILE)));
  return {
    declared,
    shapesFrom: 'config.json',
    tokenizer: await Tokenizer.load(folder, { ...options, asWritten }),
    generationConfig: await readIfThere(join(folder, 'generation_config.json'), async (path) =>
      validate(generationSchema, await readJson(path), path),
    ),
    retriever: await readIfThere(join(folder, PROMPTS_FILE), () => loadPrompts(folder)),
    openStored: () => openStored(folder, declared.config),
  };
}

async function describeGguf(path: string, options: LoadTokenizerOptions): Promise<Description> {
  const folder = dirname(path);
  const retriever = await readIfThere(join(folder, PROMPTS_FILE), () => loadPrompts(folder));
  const { declared, tokenizer, generation, stored } = await openGguf(path, options);
  return {
    declared,
    shapesFrom: 'metadata',
    tokenizer,
    generationConfig: generation,
    retriever,
    openStored: async () => stored,
  };
}

function openStored(folder: string, { raw }: ModelConfig): Promise<TensorSource> {
  const named = raw.transformers_weights;
  return openWeights(folder, typeof named === 'string' ? named : undefined);
}

function unusedIds(config: ModelConfig, generation: GenerationConfig | undefined): string[] {
  const outside = generationEosIds(generation).filter((id) => id >= config.vocabSize);
  return [
    ...idsWithoutRow(config).map((id) => `config.json: ${id}`),
    ...outside.map((id) => `generation_config.json: eos_token_id ${id}`),
  ].map((id) => `${id} is beyond the ${config.vocabSize} rows of the embedding, so it never occurs.`);
}

type Found = Awaited<ReturnType<typeof findParameters>>;

async function readParameters(
  stored: TensorSource,
  { places, config }: Pick<Found, 'places' | 'config'>,
): Promise<Weights> {
  const weights: Weights = new Map();
  for (const name of parameterShapes(config).keys())
    weights.set(name, await stored.read(places.get(name) as string));
  return weights;
}

/** Reads a folder's weights as float32. @throws InputError unless they match `config`. */
export async function loadWeights(folder: string, config: ModelConfig): Promise<Weights> {
  const stored = await openStored(folder, config);
  try {
    const { places } = await findParameters(stored, config, { source: folder, shapesFrom: 'config.json' });
    return await readParameters(stored, { places, config });
  } finally {
    await stored.close();
  }
}
