/** What the training commands need before they write anything: the collection, its training queries, and checks. */
import { createHash } from 'node:crypto';
import { directPrompt, type PromptOverrides, reasoningPrompt } from '../checkpoint/index.js';
import type { Collection } from '../dataset/index.js';
import type { Policy } from '../model/index.js';
import { ATLAS_PROMPTS, COLLECTION_PROMPTS } from '../pretrain/index.js';
import type { ResolvedRlOptions } from '../rl/index.js';
import { InputError } from '../run/index.js';
import type { ResolvedSftOptions } from '../sft/index.js';
import type { Settings } from './config.js';
import { ATLAS, loadCollection, type TrainingData, trainingData } from './data.js';
import { withDevelopment, withoutMissing } from './development.js';

export interface TrainingContext {
  /** With a split `dev` where there is one to be had, and without judgements of missing documents. */
  collection: Collection;
  data: TrainingData;
  /** SHA-256 of the collection, in hex: a run is not resumed on other data. */
  fingerprint: string;
}

type DataSettings = Settings & { data: string };

/** Loads the collection and draws the queries of both stages. @throws InputError on anything wrong with the data. */
export async function loadTraining(settings: DataSettings): Promise<TrainingContext> {
  const { data: source, seed, allowMissing, development, queries } = settings;
  const loaded = await loadCollection(source, seed, { allowMissing });
  const known = allowMissing ? withoutMissing(loaded) : loaded;
  const collection = withDevelopment(known, development.share, seed);
  const { sftSplit, rlSplit, ...rest } = queries;
  const data = trainingData(collection, {
    ...rest,
    ...(sftSplit !== undefined && { sftSplit }),
    ...(rlSplit !== undefined && { rlSplit }),
    seed,
  });
  return { collection, data, fingerprint: collectionFingerprint(loaded) };
}

function collectionFingerprint({ corpus, queries, qrels }: Collection): string {
  const hash = createHash('sha256');
  const add = (value: unknown) => hash.update(`${JSON.stringify(value)}\n`);
  for (const { id, title, text } of corpus) add([id, title ?? '', text]);
  for (const { id, text } of queries.values()) add([id, text]);
  for (const [split, judgements] of qrels) {
    for (const [query, grades] of judgements) add([split, query, [...grades]]);
  }
  return hash.digest('hex');
}

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

export const sftOptions = ({ sft, seed }: Settings): ResolvedSftOptions => ({ ...sft, seed });
export const rlOptions = ({ rl, seed }: Settings): ResolvedRlOptions => ({ ...rl, seed });

/** Refuses a batch that is larger than all there is to draw it from. `source` names the settings in the error. */
function refuseLargeBatch(
  source: string,
  field: string,
  size: number,
  available: number,
  what: string,
): void {
  if (size <= available) return;
  throw new InputError({ source, field, expected: `at most the ${available} ${what}`, found: String(size) });
}

/** @throws InputError where a step of pre-training needs more documents than there are. */
export function checkPretraining(settings: DataSettings, documents: number, source: string): void {
  if (settings.data === ATLAS) return; // A stream without end.
  const { batchSize, contrastive } = settings.pretrain;
  const what = `documents of ${settings.data}`;
  refuseLargeBatch(source, 'pretrain.batchSize', batchSize, documents, what);
  refuseLargeBatch(source, 'pretrain.contrastive.batchSize', contrastive.batchSize, documents, what);
}

/** @throws InputError where a step of stage 1 needs more queries than there are. */
export function checkSft({ sft, data: from }: DataSettings, data: TrainingData, source: string): void {
  const available = Math.min(sft.maxQueries ?? data.sft.length, data.sft.length);
  refuseLargeBatch(source, 'sft.batchSize', sft.batchSize, available, `queries of stage 1 in ${from}`);
}

/** @throws InputError where a step of stage 2 needs more queries than there are. */
export function checkRl({ rl, data: from }: DataSettings, data: TrainingData, source: string): void {
  const { queriesPerStep } = rl;
  refuseLargeBatch(
    source,
    'rl.queriesPerStep',
    queriesPerStep,
    data.rl.length,
    `queries of stage 2 in ${from}`,
  );
}

/**
 * The longest prompt a stage may use of this model: its `maxLength`, or less where the model has fewer positions.
 * @param reasoning tokens that must fit behind the prompt.
 * @throws InputError where the prompts alone do not fit.
 */
export function promptLimit(
  policy: Policy,
  { maxLength, reasoning }: { maxLength: number; reasoning: number },
  source: string,
  field: string,
): number {
  const { tokenizer, prompts, config } = policy;
  const bare = Math.max(
    directPrompt(tokenizer, prompts, '', 'query').ids.length,
    directPrompt(tokenizer, prompts, '', 'document').ids.length,
    reasoningPrompt(tokenizer, prompts, '').ids.length,
  );
  const room = config.maxPositions - reasoning - 1;
  const limit = Math.min(maxLength, room);
  if (limit > bare) return limit;
  throw new InputError({
    source,
    field,
    expected: `more than the ${bare} tokens of a prompt without its text, beside ${reasoning} of reasoning in the ${config.maxPositions} positions of the model`,
    found: String(limit),
  });
}
