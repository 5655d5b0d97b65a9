/** The training commands: each stage alone, and the whole pipeline from a collection to a model that reasons. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { type Checkpoint, checkpointFingerprint, MODEL_FOLDER } from '../checkpoint/index.js';
import { makePolicy } from '../decoder/index.js';
import { publishFolder, RunFolder } from '../run/index.js';
import { renderReport } from '../run/report/index.js';
import { type Available, type Sized, sizedToCollection } from './collection-size.js';
import type { PretrainSettings, RlSettings, SftSettings, TrainSettings } from './config.js';
import { loadDocuments, loadModel, loadPolicy } from './load.js';
import { runReport } from './run-report.js';
import { limitedRl, limitedSft, pretrainStage, rlStage, sftStage } from './stage-jobs.js';
import type { Stage, StageResult } from './stage-result.js';
import { existing, type RunOptions, throughStage, within } from './stage-run.js';
import { stageOneQueries } from './stages.js';
import {
  basePrompts,
  collectionFingerprint,
  loadTraining,
  readingSettings,
  rlOptions,
  sftOptions,
  type TrainingContext,
} from './training.js';
import { splitFor } from './validation.js';

/** Trains a tokenizer and a small model from scratch on the text of a collection. */
export async function pretrain(settings: PretrainSettings, options: RunOptions = {}): Promise<StageResult> {
  const { data, out } = settings;
  const corpus = await loadDocuments(data);
  const fingerprint = collectionFingerprint({ corpus, queries: new Map(), qrels: new Map() });
  return pretrainStage(out, settings, { corpus, fingerprint }, options);
}

/** Stage 1 on the base model of the settings. */
export async function sft(settings: SftSettings, options: RunOptions = {}): Promise<StageResult> {
  const base = await loadModel(settings.base, options.onNote);
  const context = await loadTraining(settings, splitFor(base, settings, options.onNote));
  return sftStage(settings.out, settings, base, context, options);
}

/** Stage 2 on the model of the settings. */
export async function rl(settings: RlSettings, options: RunOptions = {}): Promise<StageResult> {
  const policy = await loadPolicy(settings.model, options.onNote);
  const context = await loadTraining(settings, splitFor(policy, settings, options.onNote));
  return rlStage(settings.out, settings, policy, context, options);
}

export interface TrainResult {
  run: string;
  model: string;
  report: string;
  stages: StageResult[];
}

/**
 * The whole pipeline: a model from scratch unless a base is given, stage 1, stage 2, each in its own folder of the run.
 * Resumed, finished stages are skipped.
 */
export async function train(asked: TrainSettings, options: RunOptions = {}): Promise<TrainResult> {
  const { out, onNote = () => {} } = { ...asked, ...options };
  const given = asked.base === undefined ? undefined : await loadModel(asked.base, onNote);
  const context = await loadTraining(asked, splitFor(given ?? {}, asked, onNote));
  const settings = sizedToCollection(asked, available(asked, context), options);
  const config = await checkedConfig(settings, given, context, options);
  const free = ['data', 'base', 'saveEvery', 'validation.every', 'validation.queries', 'rl.steps'];
  const run = await RunFolder.create(out, config, { ...existing(options), mayChange: free });
  const { progress, signal, source } = options;
  const inner = {
    ...(progress && { progress }),
    ...(signal && { signal }),
    ...(source && { source }),
    onNote,
  };
  const stages: StageResult[] = [];
  const stage = async (
    name: Stage,
    about: string,
    work: (folder: string, how: RunOptions) => Promise<StageResult>,
  ) => {
    // Only the last stage may go on for longer than it did: what follows from the others is there already.
    const steps = name === 'rl' ? settings.rl.steps : 0;
    const result = await throughStage(join(out, name), about, work, { ...inner, steps });
    stages.push(result);
    return result.model;
  };
  return within(run, async () => {
    const text = { corpus: context.collection.corpus, fingerprint: context.fingerprint };
    const base =
      settings.base ??
      (await stage('pretrain', `Pre-training on ${text.corpus.length} documents.`, (folder, how) =>
        pretrainStage(folder, settings, text, how),
      ));
    const embedding = await stage(
      'sft',
      `Stage 1: learning to embed, from ${stageOneQueries(context.data, settings.sft)} queries.`,
      async (folder, how) =>
        sftStage(folder, settings, given ?? (await loadModel(base)), context, {
          ...how,
          // Those of stage 2, whose scores stand beside it.
          validationLimits: async (policy) => ({
            maxLength: (await limitedRl(rlOptions(settings), policy, options)).maxLength,
            maxNewTokens: settings.rl.maxNewTokens,
          }),
        }),
    );
    const final = await stage(
      'rl',
      `Stage 2: learning to reason for the embedding, from ${context.data.rl.length} other queries.`,
      async (folder, how) => rlStage(folder, settings, await loadPolicy(embedding), context, how),
    );
    await run.writeFile('report.html', renderReport(await runReport(out, config, stages)));
    const model = join(out, 'model');
    await publishFolder(model, (folder) => cp(final, folder, { recursive: true }), {
      replace: true,
      kind: MODEL_FOLDER,
    });
    return { run: out, model, report: join(out, 'report.html'), stages };
  });
}

/** The settings that decide the run, after checking both stages against the base model. */
async function checkedConfig(
  settings: Sized<TrainSettings>,
  given: Checkpoint | undefined,
  context: TrainingContext,
  options: RunOptions,
) {
  const { data, base, seed, prompts, queries, validation, pretrain, sft, rl, saveEvery } = settings;
  const reading = readingSettings(settings);
  const common = { data, seed, ...reading, prompts, queries, validation, sft, rl, saveEvery };
  if (given === undefined) return { ...common, pretrain, fingerprints: { data: context.fingerprint } };
  const policy = makePolicy(given, basePrompts(settings, given));
  await limitedSft(sftOptions(settings), policy, options);
  await limitedRl(rlOptions(settings), policy, options);
  const fingerprints = { data: context.fingerprint, base: checkpointFingerprint(policy) };
  return { ...common, base, fingerprints };
}

const available = ({ base }: TrainSettings, { collection, data }: TrainingContext): Available => ({
  ...(base === undefined && { documents: collection.corpus.length }),
  sft: data.sft.length,
  rl: data.rl.length,
});
