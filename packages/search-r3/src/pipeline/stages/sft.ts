/** Stage 1: a policy that embeds, directly and after its own reasoning, from a base model. */
import { join } from 'node:path';
import type { LengthLimits } from '../../checkpoint/index.js';
import type { Model, Policy } from '../../model/index.js';
import { randomStream } from '../../run/index.js';
import {
  OwnReasoning,
  type ReasoningTargets,
  type ResolvedSftOptions,
  SftTrainer,
  sftSampler,
  TargetLog,
  TargetSampler,
  type TrainingQuery,
} from '../../sft/index.js';
import { makeTargets, TARGETS_FILE, type TargetData, targetTokens } from '../../targets/index.js';
import { drawingOrder, type LoopOptions, trainLoop } from '../../train/index.js';
import type { TrainingData } from '../data/queries.js';
import { readingSettings, type TrainingContext } from '../data/training.js';
import { noteHighRate } from '../learning-rate.js';
import { fittingSft } from '../lengths.js';
import { FREE_SETTINGS, TRAINING_OUTPUTS, type TrainingStage } from './stage.js';

export interface SftInput {
  /**
   * The base model with its prompts and embed token, and the split that the trained model is to remember. It is trained
   * in place.
   */
  base: Model<Policy>;
  training: TrainingContext;
}

export const sftStage: TrainingStage<SftInput> = {
  name: 'sft',
  inputs: ['base', 'training'],
  outputs: TRAINING_OUTPUTS,

  async fingerprint(settings, { base, training }, { source }) {
    const { data, seed, queries, validation, lora, sft, saveEvery } = settings;
    await fittingSft(settings, base, source);
    return {
      config: {
        data,
        ...(settings.base !== undefined && { base: settings.base }),
        seed,
        ...readingSettings(settings),
        prompts: base.prompts,
        queries,
        validation,
        ...(lora && { lora }),
        sft,
        saveEvery,
        fingerprints: { data: training.fingerprint, base: await base.identity() },
      },
      mayChange: [...FREE_SETTINGS, 'sft.steps'],
    };
  },

  async run(settings, { base, training }, work) {
    const options = await fittingSft(settings, base, work.source);
    noteHighRate(base, options.optimization.learningRate, 'sft', work);
    base.remember({ limits: sftLimits(options), matryoshka: options.matryoshka });
    await runSft(base, training.data, options, work);
    return base;
  },
};

/** The lengths that a model trained with these options remembers. */
const sftLimits = ({ maxLength, reasoning }: ResolvedSftOptions): LengthLimits => ({
  maxLength,
  ...(reasoning.enabled && { maxNewTokens: reasoning.maxNewTokens }),
});

/** Stage 1 on a model, in place, in a run folder or without one. The model stays with the caller. */
export async function runSft(
  model: Model<Policy>,
  data: TrainingData,
  options: ResolvedSftOptions,
  loop: LoopOptions = {},
): Promise<void> {
  const before = model.frozen();
  const { queries } = drawnQueries(data, options);
  const own = await openOwn(model, queries, options, loop);
  const reasoning = options.reasoning.enabled ? await openTargets(before, data, options, loop) : undefined;
  const targets = reasoning?.targets ?? new Map<string, number[]>();
  // A token at the end is taken for one that was added there, which the base does not know.
  const { embedId, tokenizer, config } = model;
  const vocabulary = embedId === tokenizer.vocabSize - 1 ? embedId : config.vocabSize;
  const trainer = new SftTrainer(
    model,
    model.adapter === undefined ? before.checkpoint : undefined,
    vocabulary,
    { ...data, queries, targets, ...(own && { own: own.samples }) },
    options,
  );
  try {
    await trainLoop(trainer, {
      watch: ['info_nce', 'info_nce_reasoned', 'loss'],
      ...loop,
      prepare: async (step) => {
        await reasoning?.prepare(step);
        await own?.prepare(step);
      },
    });
  } finally {
    await trainer.dispose();
    await reasoning?.close();
    await own?.close();
    await before.dispose();
  }
}

/** How many queries stage 1 learns from. */
export const stageOneQueries = (
  { sft }: Pick<TrainingData, 'sft'>,
  { maxQueries = sft.length }: Pick<ResolvedSftOptions, 'maxQueries'>,
): number => Math.min(maxQueries, sft.length);

function sampleQueries(
  queries: readonly TrainingQuery[],
  most: number | undefined,
  seed: number,
): readonly TrainingQuery[] {
  return most === undefined || most >= queries.length
    ? queries
    : randomStream(seed, 'sft', 'queries').sample(queries, most);
}

/** The model's own reasoning in a run folder, as tokens. */
const OWN_FILE = 'own-reasoning.jsonl';

/** Reasoning targets, filled as training reaches their queries. */
interface OpenTargets {
  targets: ReasoningTargets;
  /** Makes sure that those of a step are there. */
  prepare: (step: number) => Promise<void>;
  close: () => Promise<void>;
}

/** The queries of stage 1, in the order in which its steps first draw them, and how many each step needs. */
export function drawnQueries(data: Pick<TrainingData, 'sft'>, options: ResolvedSftOptions) {
  const queries = sampleQueries(data.sft, options.maxQueries, options.seed);
  const { order, drawnBy } = drawingOrder(sftSampler(queries.length, options), queries.length, options.steps);
  return { queries, order: order.flatMap((index) => queries[index] ?? []), drawnBy };
}

/** What targets are made from. */
export const targetData = (
  base: Model<Policy>,
  { sft, rl, document, corpus, analyzer = 'auto' }: TrainingData,
): TargetData => ({
  ...{ base, document, analyzer },
  corpus: corpus ?? [...new Set(sft.flatMap(({ relevant }) => [...relevant.keys()]))],
  known: new Set([...sft, ...rl].map(({ id }) => id)),
});

/** Samples of the model that is being trained; undefined where none are asked for. */
async function openOwn(
  model: Model<Policy>,
  queries: readonly TrainingQuery[],
  options: ResolvedSftOptions,
  { run, signal, progress }: LoopOptions,
): Promise<(Omit<OpenTargets, 'targets'> & { samples: ReasoningTargets }) | undefined> {
  if (!options.reasoning.enabled || options.reasoning.ownShare === 0) return undefined;
  const log = run && (await TargetLog.open(run.path, OWN_FILE));
  const sampler = sftSampler(queries.length, options);
  const queriesOf = (step: number) => sampler.batch(step).flatMap((i) => queries[i] ?? []);
  const own = new OwnReasoning(model, queriesOf, options, { log, progress, signal });
  return {
    samples: own.samples,
    prepare: (step) => own.prepare(step),
    close: async () => log?.close(),
  };
}

/** A run folder keeps the targets, so that none is made twice. */
async function openTargets(
  base: Model<Policy>,
  data: TrainingData,
  options: ResolvedSftOptions,
  loop: LoopOptions,
): Promise<OpenTargets> {
  const { order, drawnBy } = drawnQueries(data, options);
  const { source, maxNewTokens } = options.reasoning;
  if (source === 'self') return sampledTargets(base, order, drawnBy, options, loop);
  const { run, signal, progress } = loop;
  const path = run && join(run.path, TARGETS_FILE);
  const made = await makeTargets(order, targetData(base, data), { ...options, path, progress, signal });
  const targets = await targetTokens(made.values(), base.tokenizer, maxNewTokens - 1);
  return { targets, prepare: async () => {}, close: async () => {} };
}

async function sampledTargets(
  base: Model<Policy>,
  order: readonly TrainingQuery[],
  drawnBy: (step: number) => number,
  options: ResolvedSftOptions,
  { run, signal, progress }: LoopOptions,
): Promise<OpenTargets> {
  const log = run && (await TargetLog.open(run.path));
  const targets = new TargetSampler(base, order, options, {
    ...(log && { known: log.known, onSampled: (piece) => log.add(piece) }),
    ...(progress && { progress }),
    ...(signal && { signal }),
  });
  return {
    targets: targets.targets,
    prepare: (step) => targets.reach(drawnBy(step)),
    close: async () => {
      await targets.dispose();
      await log?.close();
    },
  };
}
