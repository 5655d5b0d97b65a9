/**
 * A model, in a folder or a GGUF file, except for the values of its weights: everything that decides whether it can be loaded. Loading and
 * inspecting both start here, so they reject a folder with the same message.
 */
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { exists, readIfThere, readJson } from '../run/files.js';
import { validate } from '../run/validate.js';
import { type LoadTokenizerOptions, Tokenizer } from '../tokenizer/index.js';
import { idsWithoutRow, type ModelConfig, type ReadConfig, readConfigFile, withVocabSize } from './config.js';
import { chooseFormat } from './folder-format.js';
import { ggufFile } from './gguf/find.js';
import { openGguf } from './gguf/model.js';
import type { GgufTensors } from './gguf/tensors.js';
import { instructionNotes } from './instructions.js';
import { parameterReaders } from './parameter-readers.js';
import type { Weights } from './parameters.js';
import { requireReasoning } from './presets.js';
import { assertPromptable, embedTokenId, initialToken } from './prompt-ids.js';
import { resolvePrompts } from './prompts.js';
import {
  type EmbeddingFormatInput,
  loadRetrieverFile,
  PROMPTS_FILE,
  type RetrieverFile,
} from './retriever-file.js';
import type { TensorLocation, TensorSource } from './safetensors.js';
import { type ConfigOrigin, findParameters } from './stored-parameters.js';
import type { AddedRows } from './token-tables.js';
import { openWeights, type StoredFile, storedFile, weightFiles } from './weight-files.js';

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
  /** How it embeds. Undefined for a base model that was not opened to embed. */
  retriever?: RetrieverFile | undefined;
  /** Sentences about whatever was read differently from what the files say. */
  notes: string[];
  /** The tensors as stored; those of a GGUF file also tell where their blocks are. */
  stored: TensorSource | GgufTensors;
  /** Fills all of `out` with elements of one of the parameters of `parameterShapes(config)`, row-major, from `start` on. */
  readParameter(name: string, start: number, out: Float32Array): Promise<void>;
  /** Where a parameter is in a file; undefined if it is not stored as it is used. */
  locate(name: string): TensorLocation | undefined;
  /** All parameters. */
  readWeights(): Promise<Weights>;
  /** Reads every parameter, one at a time. @throws InputError if one holds a value that is not finite. */
  checkWeights(): Promise<void>;
  close(): Promise<void>;
}

/** How a model is going to embed. */
export interface EmbeddingUse {
  /**
   * A preset (`PRESETS`), the path of a JSON or YAML file with prompts, or the fields of such a file. Default: what
   * `search_r3.json` records, else what other files of the folder show, else the preset `topics`.
   */
  prompts?: string | EmbeddingFormatInput | undefined;
  /** What a `search_r3.json` elsewhere records, such as that of an adapter, in place of the folder's own. */
  recorded?: RetrieverFile | undefined;
  /** Refuse a model without a prompt for reasoning. Default false. */
  reasoning?: boolean | undefined;
}

export interface OpenModelOptions extends LoadTokenizerOptions {
  /** Open the model to embed with it. Default: `retriever` is what `search_r3.json` records, if there is one. */
  embedding?: EmbeddingUse | undefined;
}

/** What describes a model, before it is known whether its weights fit. */
interface Description {
  declared: ReadConfig;
  shapesFrom: ConfigOrigin['shapesFrom'];
  tokenizer: Tokenizer;
  generationConfig: GenerationConfig | undefined;
  embeds: Embeds;
  openStored: () => Promise<TensorSource | GgufTensors>;
}

/**
 * Opens a model: a Hugging Face folder, a GGUF file, or a folder with one GGUF file and no `config.json`. Whatever does
 * not depend on the weights of a folder is checked before their files are opened.
 * @throws InputError if a file is missing or invalid, if the model cannot embed as it should, or if parameters are
 * missing or their shapes differ from the configuration.
 */
export async function openModel(path: string, options: OpenModelOptions = {}): Promise<ModelFolder> {
  const gguf = await ggufFile(path);
  const { declared, shapesFrom, tokenizer, generationConfig, embeds, openStored } =
    gguf === undefined ? await describeFolder(path, options) : await describeGguf(gguf, options);
  const stored = await openStored();
  try {
    const { retriever } = embeds;
    const notes = [...declared.notes, ...tokenizer.notes, ...embeds.notes];
    notes.push(...instructionNotes(tokenizer, retriever?.prompts ?? resolvePrompts()));
    const from = { source: path, shapesFrom, leftOut: declared.leftOut };
    const found = await findParameters(stored, declared.config, from);
    notes.push(...found.notes);
    const rows = declared.config.vocabSize;
    const ids = tokenizer.vocabSize;
    let config = ids > rows ? withVocabSize(found.config, ids) : found.config;
    if (ids > rows) {
      notes.push(
        `The tokenizer has ${ids} ids but the embedding has ${rows} rows: ${ids - rows} rows are added, each the mean of the others.`,
      );
    }
    const added: AddedRows[] = ids > rows ? [{ used: rows, from: rows, to: ids }] : [];
    const token = options.embedding && retriever?.prompts.embedToken;
    if (token !== undefined && tokenizer.idOf(token) === undefined) {
      // Spare rows beyond the tokenizer's ids, which Qwen has, are used before the tables grow.
      const like = initialToken(tokenizer, retriever?.prompts, path);
      const id = tokenizer.addToken(token);
      added.push({ used: ids, from: id, to: id + 1, like });
      if (id >= config.vocabSize) config = withVocabSize(config, id + 1);
    }
    notes.push(...unusedIds(config, generationConfig));
    return {
      ...{ config, tokenizer, generationConfig, retriever, notes, stored },
      ...parameterReaders(stored, { ...found, config }, added, path),
      close: () => stored.close(),
    };
  } catch (error) {
    await stored.close();
    throw error;
  }
}

async function describeFolder(
  folder: string,
  { embedding, ...options }: OpenModelOptions,
): Promise<Description> {
  const declared = await readConfigFile(folder);
  // A model trained here was saved with its whole tokenizer pipeline, even by versions that did not record this.
  const asWritten = options.asWritten ?? (await exists(join(folder, PROMPTS_FILE)));
  const tokenizer = await Tokenizer.load(folder, { ...options, asWritten });
  const generationConfig = await readIfThere(join(folder, 'generation_config.json'), async (path) =>
    validate(generationSchema, await readJson(path), path),
  );
  const source = join(folder, 'tokenizer.json');
  return {
    declared,
    shapesFrom: 'config.json',
    tokenizer,
    generationConfig,
    embeds: await embedsHow(folder, declared.config, { tokenizer, source }, embedding),
    openStored: () => openStored(folder, declared.config),
  };
}

async function describeGguf(path: string, { embedding, ...options }: OpenModelOptions): Promise<Description> {
  const { declared, tokenizer, generation, stored } = await openGguf(path, options);
  try {
    return {
      declared,
      shapesFrom: 'metadata',
      tokenizer,
      generationConfig: generation,
      embeds: await embedsHow(dirname(path), declared.config, { tokenizer, source: path }, embedding),
      openStored: async () => stored,
    };
  } catch (error) {
    await stored.close();
    throw error;
  }
}

/** How a model embeds, if it does, with notes on what was chosen and why. */
interface Embeds {
  retriever: RetrieverFile | undefined;
  notes: string[];
}

async function embedsHow(
  folder: string,
  { hiddenSize }: ModelConfig,
  { tokenizer, source }: { tokenizer: Tokenizer; source: string },
  use: EmbeddingUse | undefined,
): Promise<Embeds> {
  const own = await readIfThere(join(folder, PROMPTS_FILE), () => loadRetrieverFile(folder));
  if (own?.prompts.embedToken !== undefined && use?.prompts === undefined && use?.recorded === undefined) {
    embedTokenId(tokenizer, own.prompts.embedToken, source);
  }
  const recorded = use?.recorded ?? own;
  const chosen = use && (await chooseFormat(folder, tokenizer, recorded, use.prompts));
  const format = chosen?.format ?? recorded;
  if (format === undefined) return { retriever: undefined, notes: [] };
  const { limits, split, matryoshka } = recorded ?? {};
  refuseLonger('dimensions', format.dimensions, hiddenSize, folder);
  refuseLonger('matryoshka', Math.max(...(matryoshka ?? [1])), hiddenSize, folder);
  const retriever: RetrieverFile = {
    ...format,
    ...(limits && { limits }),
    ...(split && { split }),
    ...(matryoshka && { matryoshka }),
  };
  if (use === undefined) return { retriever, notes: [] };
  if (use.reasoning) requireReasoning(format, folder);
  assertPromptable(tokenizer, format.prompts, folder);
  const { embedToken } = format.prompts;
  const isNew = embedToken !== undefined && tokenizer.idOf(embedToken) === undefined;
  const like = format.prompts.embedTokenInit;
  const row = like === undefined ? 'the mean of the others' : `that of ${JSON.stringify(like)}`;
  const untrained = `The tokenizer has no ${embedToken}: it is added, with an untrained row that is ${row}.`;
  const note = chosen?.note;
  return { retriever, notes: [...(note === undefined ? [] : [note]), ...(isNew ? [untrained] : [])] };
}

function refuseLonger(
  field: string,
  dimensions: number | undefined,
  hiddenSize: number,
  source: string,
): void {
  if (dimensions === undefined || dimensions <= hiddenSize) return;
  const expected = `at most the ${hiddenSize} of the model's hidden states`;
  throw new InputError({ source, field, expected, found: String(dimensions) });
}

function openStored(folder: string, config: ModelConfig): Promise<TensorSource> {
  return openWeights(folder, namedWeights(config));
}

/** The files that hold a model's weights, as they are now. @throws InputError for an invalid shard index. */
export async function storedFiles(path: string, config: ModelConfig): Promise<StoredFile[]> {
  const gguf = await ggufFile(path);
  return gguf === undefined ? weightFiles(path, namedWeights(config)) : [await storedFile(gguf)];
}

const namedWeights = ({ raw: { transformers_weights: named } }: ModelConfig) =>
  typeof named === 'string' ? named : undefined;

function unusedIds(config: ModelConfig, generation: GenerationConfig | undefined): string[] {
  const outside = generationEosIds(generation).filter((id) => id >= config.vocabSize);
  return [
    ...idsWithoutRow(config).map((id) => `config.json: ${id}`),
    ...outside.map((id) => `generation_config.json: eos_token_id ${id}`),
  ].map((id) => `${id} is beyond the ${config.vocabSize} rows of the embedding, so it never occurs.`);
}

/** Reads a folder's weights as float32. @throws InputError unless they match `config`. */
export async function loadWeights(folder: string, config: ModelConfig): Promise<Weights> {
  const stored = await openStored(folder, config);
  try {
    const { places } = await findParameters(stored, config, { source: folder, shapesFrom: 'config.json' });
    return await parameterReaders(stored, { places, config }, [], folder).readWeights();
  } finally {
    await stored.close();
  }
}
