/** What estimates need to know of a model, without its weights: its shape, and how long its prompts are. */
import {
  EMBEDDING_NAME,
  type EmbeddingUse,
  isAdapterFolder,
  isTrainable,
  type LengthLimits,
  type LoraShape,
  type ModelConfig,
  newConfig,
  openModel,
  type PromptOverrides,
  type Prompts,
  presetFormat,
  readAdapterFolder,
  resolvePrompts,
  withVocabSize,
} from '../../checkpoint/index.js';
import { directPrompts, reasoningPrompts } from '../../checkpoint/prompt-ids.js';
import { generateAtlas, pretrainingText } from '../../dataset/index.js';
import { storedType } from '../../decoder/index.js';
import type { FloatType } from '../../decoder/stored-tensors.js';
import { ATLAS_PROMPTS, atlasTokenizer, COLLECTION_PROMPTS, scratchConfig } from '../../pretrain/index.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { ATLAS, type Settings } from '../settings.js';
import type { TextSample } from './texts.js';

/** Tokens of the prompts of sampled texts, not cut. */
export interface PromptLengths {
  query: readonly number[];
  document: readonly number[];
  /** Empty for a model without a prompt for reasoning. */
  reasoning: readonly number[];
  /** Of the assistant's answer in a direct prompt. */
  answer: number;
  /** Of reasoning, the embed token included, where that can be known; empty: as long as it may be. */
  written: readonly number[];
}

export interface ModelOutline {
  config: ModelConfig;
  /** The id of the embed token. */
  embedId: number;
  lengths: PromptLengths;
  /** Lengths that the model was trained with. */
  limits: LengthLimits;
  /** How its file stores the embedding; undefined where that cannot be mapped. */
  embedding: FloatType | undefined;
  /** The adapter on top of its weights, if it has one. */
  adapter?: Pick<LoraShape, 'rank' | 'targets' | 'dropout'> | undefined;
}

/** A model that stage 1 starts from: prompts where it has none or others are given, and an embed token. */
export async function outlineOfBase(
  path: string,
  texts: TextSample,
  { data, prompts }: Pick<Settings, 'prompts'> & { data: string },
): Promise<ModelOutline> {
  const fallback = prompts ?? (data === ATLAS ? ATLAS_PROMPTS : undefined);
  return outlineOf(path, texts, undefined, prompts, fallback);
}

/** A model that is used, or that stage 2 starts from. */
export const outlineOfModel = (
  path: string,
  texts: TextSample,
  embedding: EmbeddingUse = {},
): Promise<ModelOutline> => outlineOf(path, texts, embedding);

async function outlineOf(
  path: string,
  texts: TextSample,
  embedding?: EmbeddingUse,
  overrides?: PromptOverrides,
  fallback?: PromptOverrides,
): Promise<ModelOutline> {
  const found = (await isAdapterFolder(path)) ? await readAdapterFolder(path) : undefined;
  const folder = await openModel(found?.base ?? path, {
    embedding: embedding && { ...embedding, recorded: found?.retriever },
  });
  try {
    const { tokenizer, retriever } = folder;
    const own = overrides === undefined ? retriever?.prompts : undefined;
    const base = presetFormat('search-r3').prompts;
    const prompts = own ?? (fallback === undefined ? base : resolvePrompts(fallback));
    const ids = tokenizer.vocabSize;
    const { embedId, lengths } = await promptLengths(tokenizer, prompts, texts);
    // With rows that are not stored, the table is not used as it is in the file.
    const added = tokenizer.vocabSize > ids;
    const place = added ? undefined : folder.locate(EMBEDDING_NAME);
    const type = place && storedType(place.dtype);
    return {
      config: grown(folder.config, tokenizer),
      embedId,
      lengths: { ...lengths, written: texts.atlas ? await writtenInAtlas(tokenizer) : [] },
      limits: (found?.retriever ?? retriever)?.limits ?? {},
      adapter: found?.adapter,
      embedding: type === 'float32' || type === 'float16' || type === 'bfloat16' ? type : undefined,
    };
  } finally {
    await folder.close();
  }
}

const grown = (config: ModelConfig, { vocabSize }: Tokenizer) =>
  vocabSize > config.vocabSize ? withVocabSize(config, vocabSize) : config;

/** The tokenizer gets the embed token if it lacks it. */
async function promptLengths(
  tokenizer: Tokenizer,
  prompts: Prompts,
  texts: TextSample,
): Promise<{ embedId: number; lengths: PromptLengths }> {
  const { embedToken } = prompts;
  const embedId =
    embedToken === undefined ? -1 : (tokenizer.idOf(embedToken) ?? tokenizer.addToken(embedToken));
  const count = (built: readonly { ids: readonly number[] }[]) => built.map(({ ids }) => ids.length);
  const direct = async (role: 'query' | 'document', own: readonly string[]) =>
    count(await directPrompts(tokenizer, prompts, own, role));
  const answer = isTrainable(prompts) ? prompts.query.assistant : '';
  return {
    embedId,
    lengths: {
      query: await direct('query', texts.queries),
      document: await direct('document', texts.documents),
      reasoning:
        prompts.reasoning === undefined
          ? []
          : count(await reasoningPrompts(tokenizer, prompts, texts.queries)),
      answer: (await tokenizer.encode(answer)).length,
      written: [],
    },
  };
}

/** Tokens that a batch writes: most of its rows have ended before the longest of them. */
export const writtenTokens = ({ written }: PromptLengths, most: number): number =>
  written.length === 0
    ? most
    : written.reduce((sum, length) => sum + Math.min(length, most), 0) / written.length;

/** Items of its pre-training text that show how long the reasoning of a model of the built-in world is. */
const ITEMS = 400;

async function writtenInAtlas(tokenizer: Tokenizer): Promise<number[]> {
  const stream = pretrainingText(generateAtlas());
  const items = Array.from({ length: ITEMS }, () => stream.next().value);
  const answers = items.flatMap((item) => (item.kind === 'chat' ? [item.assistant] : []));
  return (await tokenizer.encodeBatch(answers)).map((ids) => ids.length + 1);
}

/** Characters of a token, of a vocabulary learned from the collection. */
const CHARACTERS = 3.8;
/** Tokens of a prompt around its text, of the short prompts of models from scratch. */
const AROUND = 16;
const DEFAULT_VOCABULARY = 8192;

/** A model from scratch, which is yet to be made. */
export async function outlineOfScratch(
  texts: TextSample,
  { data, prompts, pretrain }: Pick<Settings, 'prompts' | 'pretrain'> & { data: string },
): Promise<ModelOutline> {
  if (data === ATLAS) {
    const tokenizer = atlasTokenizer(generateAtlas());
    const { embedId, lengths } = await promptLengths(
      tokenizer,
      resolvePrompts(prompts ?? ATLAS_PROMPTS),
      texts,
    );
    return {
      embedId,
      lengths: { ...lengths, written: await writtenInAtlas(tokenizer) },
      config: scratchConfig(tokenizer, pretrain.model),
      limits: {},
      embedding: 'float32',
    };
  }
  const { kvHeads = pretrain.model.heads, tied, ...shape } = pretrain.model;
  const { vocabSize = DEFAULT_VOCABULARY } = pretrain;
  const { query, reasoning } = resolvePrompts(prompts ?? COLLECTION_PROMPTS);
  const around = (written: string) => AROUND + Math.ceil(written.length / CHARACTERS);
  const tokens = (own: readonly string[], more: number) =>
    own.map(({ length }) => more + Math.ceil(length / CHARACTERS));
  return {
    config: newConfig({ ...shape, kvHeads, tieWordEmbeddings: tied, vocabSize: vocabSize + 1 }),
    embedId: vocabSize,
    lengths: {
      query: tokens(texts.queries, around(query.system + query.assistant)),
      document: tokens(texts.documents, around(query.system + query.assistant)),
      reasoning: tokens(texts.queries, around(reasoning.system)),
      answer: Math.ceil(query.assistant.length / CHARACTERS),
      written: [],
    },
    limits: {},
    embedding: 'float32',
  };
}
