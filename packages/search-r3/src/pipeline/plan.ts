/** The training commands as plans: from settings, data and models to stages in order. */
import { join } from 'node:path';
import type { PromptOverrides, Prompts } from '../checkpoint/index.js';
import type { Model, Policy } from '../model/index.js';
import { ATLAS_PROMPTS } from '../pretrain/index.js';
import type { PretrainSettings, RlSettings, SftSettings, TrainSettings } from './config.js';
import { type Available, sizedToCollection } from './data/collection-size.js';
import { loadDocuments, loadPolicy, loadStart, type TrainingUse } from './data/load.js';
import { splitFor, VALIDATION_SPLIT } from './data/split.js';
import {
  collectionFingerprint,
  loadTraining,
  readingSettings,
  type TrainingContext,
} from './data/training.js';
import { fittingRl, fittingSft } from './lengths.js';
import type { StageResult } from './result.js';
import {
  type Plan,
  type PlannedStage,
  planned,
  plannedTraining,
  type RunOptions,
  type Validation,
} from './run-plan.js';
import { ATLAS, type Settings } from './settings.js';
import { STAGES } from './stages/index.js';
import { stageOneQueries } from './stages/sft.js';
import type { Fingerprint, TrainingStageSettings } from './stages/stage.js';

/** A tokenizer and a small model from scratch on the text of a collection. */
export async function pretrainPlan(asked: PretrainSettings, options: RunOptions): Promise<Plan<StageResult>> {
  const text = await loadText(asked.data);
  const settings = sizedToCollection(asked, { documents: text.corpus.length }, options);
  const sources = { text: () => text };
  return alone(plannedTraining(STAGES.pretrain, { settings, sources, folder: settings.out }));
}

/** The base model of the settings, as stage 1 starts from it. */
export const startOf = (
  asked: Settings & { data: string; base: string },
  options: RunOptions,
): Promise<Model<Policy>> => loadStart(asked.base, promptsFor(asked), useOf(asked, options));

/** Stage 1 on the base model of the settings. */
export async function sftPlan(asked: SftSettings, options: RunOptions): Promise<Plan<StageResult>> {
  const base = await startOf(asked, options);
  const training = await loadTraining(asked, splitFor(base, asked, options.onNote));
  const settings = sizedToCollection(asked, { sft: training.data.sft.length }, options);
  const stage = plannedTraining(STAGES.sft, {
    settings,
    sources: { base: () => withSplit(base, training), training: () => training },
    folder: settings.out,
    validation: async ({ base: start }) => {
      const { maxLength } = await fittingSft(settings, start, sourceOf(options));
      const { maxNewTokens } = settings.sft.reasoning;
      return validationOf(training, settings, { maxLength, maxNewTokens }, options);
    },
  });
  return alone(stage);
}

/** Stage 2 on the model of the settings. */
export async function rlPlan(asked: RlSettings, options: RunOptions): Promise<Plan<StageResult>> {
  const model = await loadPolicy(asked.model, useOf(asked, options));
  const training = await loadTraining(asked, splitFor(model, asked, options.onNote));
  const settings = sizedToCollection(asked, { rl: training.data.rl.length }, options);
  const stage = plannedTraining(STAGES.rl, {
    settings,
    sources: { policy: () => withSplit(model, training), training: () => training },
    folder: settings.out,
    validation: async ({ policy }) =>
      validationOf(training, settings, await limitsOfRl(settings, policy, options), options),
  });
  return alone(stage);
}

export interface TrainResult {
  run: string;
  model: string;
  report: string;
  stages: StageResult[];
}

/** The whole pipeline: a model from scratch unless a base is given, stage 1, stage 2, and a report. */
export async function trainPlan(asked: TrainSettings, options: RunOptions): Promise<Plan<TrainResult>> {
  const use = useOf(asked, options);
  const given = asked.base === undefined ? undefined : await loadStart(asked.base, promptsFor(asked), use);
  const training = await loadTraining(asked, splitFor(given ?? {}, asked, options.onNote));
  const settings = sizedToCollection(asked, available(asked, training), options);
  const fingerprint = await fingerprintOfTrain(settings, given, training, options);
  const { out } = settings;
  const text = { corpus: training.collection.corpus, fingerprint: training.fingerprint };
  const pretrain = plannedTraining(STAGES.pretrain, {
    settings,
    sources: { text: () => text },
    folder: join(out, 'pretrain'),
    part: { about: `Pre-training on ${text.corpus.length} documents.` },
  });
  const sft = plannedTraining(STAGES.sft, {
    settings,
    sources: {
      base: async () =>
        withSplit(given ?? (await loadStart(pretrain.output().model, promptsFor(settings), use)), training),
      training: () => training,
    },
    folder: join(out, 'sft'),
    // Limits of stage 2, whose scores stand beside these.
    validation: async ({ base }) =>
      validationOf(training, settings, await limitsOfRl(settings, base, options), options),
    part: {
      about: `Stage 1: learning to embed, from ${stageOneQueries(training.data, settings.sft)} queries.`,
    },
  });
  const rl = plannedTraining(STAGES.rl, {
    settings,
    sources: { policy: () => loadPolicy(sft.output().model, use), training: () => training },
    folder: join(out, 'rl'),
    validation: async ({ policy }) =>
      validationOf(training, settings, await limitsOfRl(settings, policy, options), options),
    part: {
      about: `Stage 2: learning to reason for the embedding, from ${training.data.rl.length} other queries.`,
      // Only the last stage may go on for longer than it did: what follows from the others is there already.
      steps: settings.rl.steps,
    },
  });
  const trained = given === undefined ? [pretrain, sft, rl] : [sft, rl];
  const results = () => trained.map((stage) => stage.output());
  const report = planned(STAGES.report, { folder: out, config: fingerprint.config }, { results });
  return {
    whole: { folder: out, fingerprint },
    stages: [...trained, report],
    result: () => ({ run: out, ...report.output(), stages: results() }),
  };
}

async function loadText(source: string) {
  const corpus = await loadDocuments(source);
  return { corpus, fingerprint: collectionFingerprint({ corpus, queries: new Map(), qrels: new Map() }) };
}

const alone = (stage: PlannedStage<StageResult>): Plan<StageResult> => ({
  stages: [stage],
  result: stage.output,
});

function withSplit(model: Model<Policy>, { split }: TrainingContext): Model<Policy> {
  model.remember({ split });
  return model;
}

/** The prompts that stage 1 gives a base model with these; undefined leaves what it has, or the defaults. */
const promptsFor =
  ({ data, prompts }: Pick<TrainingStageSettings, 'data' | 'prompts'>) =>
  (own: Prompts | undefined): PromptOverrides | undefined =>
    prompts ?? (own === undefined && data === ATLAS ? ATLAS_PROMPTS : undefined);

/** How models that are trained are loaded. */
const useOf = (
  { lora, seed }: Pick<TrainingStageSettings, 'lora' | 'seed'>,
  { onNote, signal }: RunOptions,
): TrainingUse => ({ lora, seed, onNote, signal });

/** What decides the run as a whole. Checks both stages against the base model that is given. */
async function fingerprintOfTrain(
  settings: TrainingStageSettings,
  given: Model<Policy> | undefined,
  training: TrainingContext,
  options: RunOptions,
): Promise<Fingerprint> {
  const { data, base, seed, prompts, queries, validation, lora, pretrain, sft, rl, saveEvery } = settings;
  const reading = readingSettings(settings);
  const common = {
    data,
    seed,
    ...reading,
    prompts,
    queries,
    validation,
    ...(lora && { lora }),
    sft,
    rl,
    saveEvery,
  };
  const mayChange = ['data', 'base', 'saveEvery', 'validation.every', 'validation.queries', 'rl.steps'];
  const fingerprints = { data: training.fingerprint };
  if (given === undefined) return { config: { ...common, pretrain, fingerprints }, mayChange };
  await fittingSft(settings, given, sourceOf(options));
  await fittingRl(settings, given, sourceOf(options));
  const both = { ...fingerprints, base: await given.identity() };
  return { config: { ...common, base, fingerprints: both }, mayChange };
}

const sourceOf = ({ source = 'settings' }: RunOptions) => source;

/** What the stages of a whole run draw from. */
const available = ({ base }: TrainSettings, { collection, data }: TrainingContext): Available => ({
  ...(base === undefined && { documents: collection.corpus.length }),
  sft: data.sft.length,
  rl: data.rl.length,
});

/** In tokens. */
interface Limits {
  /** Of a prompt. */
  maxLength: number;
  /** Of the reasoning. */
  maxNewTokens: number;
}

/** The lengths of stage 2. */
async function limitsOfRl(
  settings: TrainingStageSettings,
  policy: Model<Policy>,
  options: RunOptions,
): Promise<Limits> {
  const { maxLength, maxNewTokens } = await fittingRl(settings, policy, sourceOf(options));
  return { maxLength, maxNewTokens };
}

/** Undefined where there are no validation queries. */
function validationOf(
  { collection }: TrainingContext,
  { validation, excludeSelf, seed }: TrainingStageSettings,
  limits: Limits,
  { progress }: RunOptions,
): Validation | undefined {
  const all = collection.qrels.get(VALIDATION_SPLIT);
  if (all === undefined || validation.queries === 0) return undefined;
  return {
    collection,
    qrels: new Map([...all].slice(0, validation.queries)),
    options: { ...limits, excludeSelf, seed },
    afterwards: ['direct', 'reasoned'],
    progress,
  };
}
