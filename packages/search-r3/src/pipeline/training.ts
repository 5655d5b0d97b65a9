/** What the training commands need before they write anything: the collection, its training queries, and checks. */
import { createHash } from 'node:crypto';
import {
  directPrompt,
  type LengthLimits,
  type PromptOverrides,
  type QuerySplit,
  reasoningPrompt,
} from '../checkpoint/index.js';
import type { Collection } from '../dataset/index.js';
import type { Policy } from '../decoder/index.js';
import { ATLAS_PROMPTS, COLLECTION_PROMPTS } from '../pretrain/index.js';
import type { ResolvedRlOptions } from '../rl/index.js';
import { InputError } from '../run/index.js';
import type { ResolvedSftOptions } from '../sft/index.js';
import type { Sized } from './collection-size.js';
import { loadCollection, type TrainingData, trainingData } from './data.js';
import type { Settings } from './settings.js';
import { ATLAS } from './settings.js';
import { learnable, querySplit } from './validation.js';

export interface TrainingContext {
  /** With a split `dev` where there is one to be had, and without judgements of missing documents. */
  collection: Collection;
  data: TrainingData;
  /** SHA-256 of the collection, in hex: a run is not resumed on other data. */
  fingerprint: string;
  split: QuerySplit;
}

type DataSettings = Settings & { data: string };

/**
 * Loads the collection and draws the queries of both stages, shared out as `split` says. @throws InputError on anything
 * wrong with the data.
 */
export async function loadTraining(
  settings: DataSettings,
  split = querySplit(settings),
): Promise<TrainingContext> {
  const { data: source, allowMissing, excludeSelf, analyzer, queries } = settings;
  const loaded = await loadCollection(source, split.seed, { allowMissing });
  const collection = learnable(loaded, allowMissing, split);
  const { sftSplit, rlSplit, titlePairs } = queries;
  const data = trainingData(collection, {
    titlePairs,
    excludeSelf,
    analyzer,
    sftShare: split.sft,
    ...(sftSplit !== undefined && { sftSplit }),
    ...(rlSplit !== undefined && { rlSplit }),
    seed: split.seed,
  });
  return { collection, data, fingerprint: collectionFingerprint(loaded), split };
}

/** SHA-256, in hex, of what training reads of a collection: metadata of documents is none of it. */
export function collectionFingerprint({ corpus, queries, qrels }: Collection): string {
  const hash = createHash('sha256');
  const add = (value: unknown) => hash.update(`${JSON.stringify(value)}\n`);
  for (const { id, title, text } of corpus) add([id, title ?? '', text]);
  for (const { id, text } of queries.values()) add([id, text]);
  for (const [split, judgements] of qrels) {
    for (const [query, grades] of judgements) add([split, query, [...grades]]);
  }
  return hash.digest('hex');
}

/** Settings about the reading of collections, those that are not the default: runs of before had no others. */
export const readingSettings = ({ allowMissing, excludeSelf, analyzer }: Settings) => ({
  ...(allowMissing && { allowMissing }),
  ...(excludeSelf !== 'auto' && { excludeSelf }),
  ...(analyzer !== 'auto' && { analyzer }),
});

/** The prompts of a model from scratch. */
export function scratchPrompts({ data, prompts }: DataSettings): PromptOverrides {
  return prompts ?? (data === ATLAS ? ATLAS_PROMPTS : COLLECTION_PROMPTS);
}

/** The prompts that stage 1 gives a base model that has none; undefined leaves what it has, or the defaults. */
export function basePrompts(
  { data, prompts }: DataSettings,
  base: { prompts?: PromptOverrides | undefined },
): PromptOverrides | undefined {
  return prompts ?? (base.prompts === undefined && data === ATLAS ? ATLAS_PROMPTS : undefined);
}

export const sftOptions = ({ sft, seed }: Sized<Settings>): ResolvedSftOptions => ({ ...sft, seed });
export const rlOptions = ({ rl, seed }: Sized<Settings>): ResolvedRlOptions => ({ ...rl, seed });

/** The lengths that a model trained so remembers. */
export const sftLimits = ({
  maxLength,
  reasoning,
}: Pick<ResolvedSftOptions, 'maxLength' | 'reasoning'>): LengthLimits => ({
  maxLength,
  ...(reasoning.enabled && { maxNewTokens: reasoning.maxNewTokens }),
});
export const rlLimits = ({
  maxLength,
  maxNewTokens,
}: Pick<ResolvedRlOptions, 'maxLength' | 'maxNewTokens'>) => ({
  maxLength,
  maxNewTokens,
});

/** The least that the options of the stages take as a length of reasoning. */
const LEAST_REASONING = 2;

/**
 * The longest prompt a stage may use of this model: its `maxLength`, or less where the model has fewer positions.
 * @param reasoning tokens that must fit behind the prompt.
 * @param fields names of both settings in errors.
 * @throws InputError where the prompts alone do not fit.
 */
export async function promptLimit(
  policy: Policy,
  { maxLength, reasoning }: { maxLength: number; reasoning: number },
  source: string,
  fields: { maxLength: string; reasoning: string },
): Promise<number> {
  const { tokenizer, prompts, config } = policy;
  const empty = await Promise.all([
    directPrompt(tokenizer, prompts, '', 'query'),
    directPrompt(tokenizer, prompts, '', 'document'),
    reasoningPrompt(tokenizer, prompts, ''),
  ]);
  const bare = Math.max(...empty.map(({ ids }) => ids.length));
  const { maxPositions } = config;
  const limit = Math.min(maxLength, maxPositions - reasoning - 1);
  if (limit > bare) return limit;
  const prompt = `the ${bare} tokens of a prompt without its text`;
  if (maxLength <= bare) {
    const expected = `more than ${prompt}`;
    throw new InputError({ source, field: fields.maxLength, expected, found: String(maxLength) });
  }
  // One token of text and the embed token beside it.
  const most = maxPositions - bare - 2;
  if (most >= LEAST_REASONING) {
    throw new InputError({
      source,
      field: fields.reasoning,
      expected: `at most ${most}, beside ${prompt} in the ${maxPositions} positions of the model`,
      found: String(reasoning),
    });
  }
  throw new InputError({
    source: 'model',
    field: 'max_position_embeddings',
    expected: `room for ${prompt}, for text and for reasoning`,
    found: String(maxPositions),
    remedy: 'It takes a model of more positions, or shorter prompts (prompts.*).',
  });
}
