/** Estimates of the stages that train: memory at its peak, and time. */
import { parameterCount } from '../../checkpoint/index.js';
import { generateAtlas } from '../../dataset/index.js';
import type { GenerationPlan } from '../../generate/index.js';
import { atlasSequences, atlasTokenizer } from '../../pretrain/index.js';
import type { ResolvedPretrainOptions } from '../../pretrain/options.js';
import { type ResolvedRlOptions, rlOptionsSchema } from '../../rl/index.js';
import { randomStream } from '../../run/index.js';
import { type ResolvedSftOptions, sftOptionsSchema } from '../../sft/index.js';
import type { EngineOptions, StepRequest } from '../../train/index.js';
import { ATLAS, type Settings } from '../settings.js';
import { pretrainBatch, rlBatch, sftBatch } from './batches.js';
import {
  DOCUMENT_BYTES,
  EFFICIENCY,
  PARAMETER_SECONDS,
  PROCESS_BYTES,
  START_SECONDS,
  TEXT_BYTES,
} from './constants.js';
import { InferenceRehearsal } from './inference.js';
import { type Learner, learnerOf, loraOf } from './learner.js';
import { secondsOf, type Throughput } from './machine.js';
import { type ModelOutline, writtenTokens } from './outline.js';
import { type Part, type Phase, type StageEstimate, stageEstimate, type TimedPart } from './parts.js';
import type { TextSample } from './texts.js';
import { trainingCost } from './training.js';

/** Where everything is known that estimates follow from. */
export interface Surroundings {
  settings: Settings & { data: string };
  texts: TextSample;
  machine: Throughput;
  /** Bytes of models that the process holds besides that of the stage. */
  held?: number;
}

/** Reasoning targets that are sampled together. */
const TARGETS = 128;
/** Steps that are rehearsed: their lengths differ by chance. */
const STEPS = [0, 1, 2];
const FLOAT = Float32Array.BYTES_PER_ELEMENT;

export const always = (
  { texts, held = 0 }: Pick<Surroundings, 'texts' | 'held'>,
  kind: keyof typeof PROCESS_BYTES = 'training',
): Part[] => [
  { name: 'the program', bytes: PROCESS_BYTES[kind] },
  { name: 'texts', bytes: TEXT_BYTES * texts.bytes + DOCUMENT_BYTES * texts.count.documents },
  { name: 'weights of the base model', bytes: held },
];

/** A model as it is used while a stage trains it, or before. */
const inUse = ({ config }: ModelOutline, { weightsIn, weights }: Learner): InferenceRehearsal =>
  new InferenceRehearsal(config, weightsIn, weights.sizes);

/** Seconds of completions for prompts of these lengths, none if there are none. */
function generationSeconds(
  use: InferenceRehearsal,
  { lengths }: ModelOutline,
  machine: Throughput,
  plan: Omit<GenerationPlan, 'newTokens'>,
): number {
  if (plan.prompts.length === 0) return 0;
  const work = use.generate({ ...plan, newTokens: writtenTokens(lengths, plan.maxNewTokens) });
  return secondsOf(work, machine) / EFFICIENCY.generation;
}

/** Seconds of so many documents through the encoder. */
function encodingSeconds(
  use: InferenceRehearsal,
  { lengths }: ModelOutline,
  machine: Throughput,
  { count, maxLength, maxTokens }: { count: number; maxLength: number; maxTokens?: number },
): number {
  const cut = lengths.document.map((length) => Math.min(length, maxLength));
  return secondsOf(use.encode(cut, count, maxTokens), machine) / EFFICIENCY.encoding;
}

/** Cycles through a sample until there are so many. */
const repeated = (lengths: readonly number[], count: number, most: number): number[] =>
  lengths.length === 0
    ? []
    : Array.from({ length: count }, (_, i) => Math.min(most, lengths[i % lengths.length] ?? most));

/** Scores on validation queries, directly and after reasoning, when a stage has finished. */
function validation(
  outline: ModelOutline,
  learner: Learner,
  around: Surroundings,
  limits: { maxLength: number; maxNewTokens: number },
): { phases: Phase[]; times: TimedPart[] } {
  const { settings, texts, machine } = around;
  const count = settings.validation.queries;
  if (count === 0) return { phases: [], times: [] };
  const use = inUse(outline, learner);
  const documents = encodingSeconds(use, outline, machine, {
    count: texts.count.documents,
    maxLength: limits.maxLength,
  });
  const reasoning = generationSeconds(use, outline, machine, {
    prompts: repeated(outline.lengths.reasoning, count, limits.maxLength),
    maxNewTokens: limits.maxNewTokens,
  });
  const vectors = 2 * FLOAT * outline.config.hiddenSize * texts.count.documents;
  const phase = {
    name: 'validation',
    parts: [...always(around), ...learner.parts, ...use.parts, { name: 'vectors', bytes: vectors }],
  };
  return {
    phases: [phase],
    times: [{ name: 'validation', seconds: documents + reasoning }],
  };
}

const times = (parts: readonly TimedPart[], count: number): TimedPart[] =>
  parts.map(({ name, seconds }) => ({ name, seconds: count * seconds }));

const start = ({ config }: ModelOutline): TimedPart => ({
  name: 'start',
  seconds: START_SECONDS + PARAMETER_SECONDS * parameterCount(config),
});

/** The longest prompt that a stage may use beside its reasoning. */
const fitting = (maxLength: number, { config }: ModelOutline, reasoning: number): number =>
  Math.max(1, Math.min(maxLength, config.maxPositions - reasoning - 1));

const USUAL = {
  sft: sftOptionsSchema.shape.batchSize.parse(undefined),
  rl: rlOptionsSchema.shape.queriesPerStep.parse(undefined),
  pretrain: 64,
};

/** The options of stage 1 as the stage has them. */
export function sftOptionsOf({ sft, seed }: Settings, outline: ModelOutline): ResolvedSftOptions {
  const reasoning = sft.reasoning.enabled ? sft.reasoning.maxNewTokens : 0;
  const { batchSize = Math.min(USUAL.sft, sft.maxQueries ?? USUAL.sft) } = sft;
  return { ...sft, seed, batchSize, maxLength: fitting(sft.maxLength, outline, reasoning) };
}

export async function estimateSft(outline: ModelOutline, around: Surroundings): Promise<StageEstimate> {
  const { settings, machine } = around;
  const { config, lengths } = outline;
  const options = sftOptionsOf(settings, outline);
  const { weights, optimization, reasoning, steps, maxLength } = options;
  const lora = loraOf(settings, outline);
  const learner = await learnerOf(outline, options.tokenEmbeddings, lora);
  const base = lora === undefined ? { config, weights: new Map() } : undefined;
  const engine: EngineOptions = {
    objective: {
      ...(weights.crossEntropy > 0 && { crossEntropy: {} }),
      ...(weights.kl > 0 && reasoning.enabled && { kl: { base, vocabulary: config.vocabSize } }),
      ...(weights.infoNce > 0 && { infoNce: { temperature: options.temperature } }),
      ...(weights.triplet > 0 && { triplet: { margin: options.margin } }),
    },
    maxTokens: optimization.maxTokens,
    checkpoint: optimization.checkpointActivations,
  };
  const cost = trainingCost(
    config,
    learner,
    engine,
    STEPS.map((step) => sftBatch(lengths, options, step)),
    machine,
  );
  const targets = Math.min(steps * options.batchSize, options.maxQueries ?? Number.POSITIVE_INFINITY);
  // They are sampled ahead, in pieces.
  const piece = Math.min(targets, TARGETS);
  const sampler = inUse(outline, learner);
  const sampling = generationSeconds(sampler, outline, machine, {
    prompts: reasoning.enabled ? repeated(lengths.reasoning, piece, maxLength) : [],
    maxNewTokens: reasoning.maxNewTokens,
  });
  const copies: Part[] = [...learner.parts, { name: 'weights before training', bytes: learner.copy }];
  const training = [...always(around), ...copies, ...cost.parts, ...sampler.parts];
  const scored = validation(outline, learner, around, { maxLength, maxNewTokens: reasoning.maxNewTokens });
  return stageEstimate(
    'sft',
    [{ name: 'training', parts: training }, ...scored.phases],
    [
      start(outline),
      cost.sessions,
      ...times(cost.step, steps),
      { name: 'reasoning targets', seconds: (sampling * targets) / piece },
      ...scored.times,
    ],
  );
}

/** The options of stage 2 as the stage has them. */
export function rlOptionsOf({ rl, seed }: Settings, outline: ModelOutline): ResolvedRlOptions {
  const { queriesPerStep = USUAL.rl } = rl;
  return { ...rl, seed, queriesPerStep, maxLength: fitting(rl.maxLength, outline, rl.maxNewTokens) };
}

/** Documents that a step encodes, on average. */
function encodedPerStep({ environment }: ResolvedRlOptions, documents: number): number {
  switch (environment.kind) {
    case 'exact':
      return documents;
    case 'selective': {
      const { documents: count, fraction = 0, targetError, most = 1 } = environment.budget;
      // How much an error takes shows only in the run: a tenth, or the most that is allowed.
      const share = targetError === undefined ? fraction : Math.min(0.1, most);
      return Math.min(documents, count ?? share * documents);
    }
    default:
      return environment satisfies never;
  }
}

export async function estimateRl(outline: ModelOutline, around: Surroundings): Promise<StageEstimate> {
  const { settings, machine, texts } = around;
  const { config, lengths } = outline;
  const options = rlOptionsOf(settings, outline);
  const learner = await learnerOf(outline, options.tokenEmbeddings, loraOf(settings, outline));
  const { optimization, beta, steps, maxLength, maxNewTokens, queriesPerStep, groupSize } = options;
  const engine: EngineOptions = {
    objective: {
      ...((options.policyWeight > 0 || beta > 0) && {
        policyGradient: {
          clipLow: options.clipLow,
          clipHigh: options.clipHigh,
          beta,
          importanceCap: undefined,
        },
      }),
      ...(options.contrastive.weight > 0 && { infoNce: { temperature: options.contrastive.temperature } }),
    },
    maxTokens: optimization.maxTokens,
    checkpoint: optimization.checkpointActivations,
  };
  const batches = STEPS.map((step) => rlBatch(lengths, options, step));
  const how = { reference: beta > 0, updates: options.numIterations };
  const cost = trainingCost(config, learner, engine, batches, machine, how);
  const use = inUse(outline, learner);
  const rollouts = generationSeconds(use, outline, machine, {
    prompts: repeated(lengths.reasoning, queriesPerStep, maxLength),
    samples: groupSize,
    maxNewTokens,
  });
  const corpus = texts.count.documents;
  const { maxTokens } = optimization;
  const first = encodingSeconds(use, outline, machine, { count: corpus, maxLength, maxTokens });
  const perStep = first * (encodedPerStep(options, corpus) / Math.max(1, corpus));
  const copies = options.environment.kind === 'selective' ? 3 : 2;
  const training: Part[] = [
    ...always(around),
    ...learner.parts,
    { name: 'weights of the reference', bytes: beta > 0 ? learner.copy : 0 },
    ...cost.parts,
    ...use.parts,
    { name: 'vectors', bytes: copies * FLOAT * config.hiddenSize * corpus },
  ];
  const scored = validation(outline, learner, around, { maxLength, maxNewTokens });
  return stageEstimate(
    'rl',
    [{ name: 'training', parts: training }, ...scored.phases],
    [
      start(outline),
      cost.sessions,
      ...times(cost.step, steps),
      { name: 'rollouts', seconds: steps * rollouts },
      { name: 'environment', seconds: first + (steps - 1) * perStep },
      ...scored.times,
    ],
  );
}

export async function estimatePretrain(outline: ModelOutline, around: Surroundings): Promise<StageEstimate> {
  const { settings, machine } = around;
  const { config } = outline;
  const { batchSize = USUAL.pretrain, ...rest } = settings.pretrain;
  const options: ResolvedPretrainOptions = { ...rest, batchSize, seed: settings.seed };
  const { optimization, contrastive, steps } = options;
  const engine: EngineOptions = {
    objective: { crossEntropy: {}, infoNce: { temperature: contrastive.temperature } },
    maxTokens: optimization.maxTokens,
    checkpoint: optimization.checkpointActivations,
  };
  const learner = await learnerOf(outline, 'trained', undefined);
  const batches = await Promise.all(STEPS.map((step) => pretrainStep(outline, around, options, step)));
  const cost = trainingCost(config, learner, engine, batches, machine);
  const training = [...always(around), ...learner.parts, ...cost.parts];
  return stageEstimate(
    'pretrain',
    [{ name: 'training', parts: training }],
    [start(outline), cost.sessions, ...times(cost.step, steps)],
  );
}

/** What a step reads: the built-in world's own sequences, or documents of the sample, cut into pieces. */
async function pretrainStep(
  { lengths }: ModelOutline,
  { settings }: Surroundings,
  { batchSize, maxLength, contrastive, seed }: ResolvedPretrainOptions,
  step: number,
): Promise<StepRequest> {
  const random = randomStream(seed, 'estimate', 'pretrain', step);
  if (settings.data === ATLAS) {
    const world = generateAtlas();
    const source = atlasSequences(world, atlasTokenizer(world), batchSize, { seed: seed + 1 });
    return pretrainBatch(
      (await source(step)).map((ids) => Math.min(maxLength, ids.length)),
      [],
    );
  }
  const draw = (all: readonly number[], most: number) =>
    Math.min(most, all.length === 0 ? most : random.choice(all));
  const { chatShare = 0.5 } = settings.pretrain;
  const read = Array.from({ length: batchSize }, () => {
    if (random.uniform() < chatShare) return draw(lengths.reasoning, maxLength);
    const length = lengths.document.length === 0 ? maxLength : random.choice(lengths.document);
    return Math.max(2, Math.ceil(length / Math.ceil(length / maxLength)));
  });
  const pairs = Array.from({ length: contrastive.batchSize }, () => ({
    query: draw(lengths.query, contrastive.maxLength),
    document: draw(lengths.document, contrastive.maxLength),
  }));
  return pretrainBatch(read, pairs);
}
