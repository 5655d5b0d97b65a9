/** The stages as jobs: from a checkpoint in memory to a better one, in a run folder or without. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Checkpoint, PromptOverrides } from '../checkpoint/index.js';
import type { Collection } from '../dataset/index.js';
import { frozenCopy, makePolicy, type Policy } from '../decoder/index.js';
import { type ResolvedRlOptions, RlTrainer } from '../rl/index.js';
import { ProgressTracker, randomStream } from '../run/index.js';
import {
  type LoopOptions,
  type ReasoningTargets,
  type ResolvedSftOptions,
  SftTrainer,
  sampleTargets,
  type TrainingQuery,
  trainLoop,
} from '../sft/index.js';
import type { TrainingData } from './data.js';
import { createEnvironment } from './environment.js';

const TARGETS = 'targets.json';

/** Stage 1 on a base model: a policy that embeds, directly and after its own reasoning. */
export async function runSft(
  base: Checkpoint,
  data: TrainingData,
  options: ResolvedSftOptions,
  loop: LoopOptions = {},
  prompts?: PromptOverrides,
): Promise<Policy> {
  // The optimiser writes into the arrays of the policy: the caller's checkpoint keeps its own.
  const policy = makePolicy(frozenCopy(base), prompts);
  const before = frozenCopy(policy);
  const queries = sampleQueries(data.sft, options.maxQueries, options.seed);
  const targets = options.reasoning.enabled
    ? await reasoningTargets(before, queries, options, loop)
    : new Map<string, number[]>();
  // A token at the end is taken for one that was added there, which the base does not know.
  const { embedId, tokenizer, config } = policy;
  const vocabulary = embedId === tokenizer.vocabSize - 1 ? embedId : config.vocabSize;
  const trainer = new SftTrainer(policy, before, vocabulary, { ...data, queries, targets }, options);
  try {
    await trainLoop(trainer, { watch: ['info_nce', 'info_nce_reasoned', 'loss'], ...loop });
  } finally {
    await trainer.dispose();
  }
  return policy;
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

/** Sampled before training and kept in the run folder, since a resumed run has no base model's weights left. */
async function reasoningTargets(
  base: Policy,
  queries: readonly TrainingQuery[],
  options: ResolvedSftOptions,
  { run, signal, progress }: LoopOptions,
): Promise<ReasoningTargets> {
  if (run?.resumed !== undefined) {
    const stored = JSON.parse(await readFile(join(run.path, TARGETS), 'utf8')) as [string, number[]][];
    return new Map(stored);
  }
  const tracker = new ProgressTracker({
    stage: 'reasoning targets',
    unit: 'query',
    steps: queries.length,
    ...(progress && { reporter: progress }),
  });
  const targets = await sampleTargets(base, queries, options, {
    ...(signal && { signal }),
    onProgress: (done) => tracker.update(done),
  });
  await run?.writeFile(TARGETS, JSON.stringify([...targets]));
  return targets;
}

/** Stage 2 on a policy, in place, in an environment of `options.environment`. */
export async function runRl(
  policy: Policy,
  collection: Collection,
  data: TrainingData,
  options: ResolvedRlOptions,
  loop: LoopOptions = {},
): Promise<void> {
  const reference = options.beta > 0 ? frozenCopy(policy) : undefined;
  const { environment, truncatedDocuments, dispose } = await createEnvironment(
    policy,
    collection,
    data.document,
    { ...options, ...(data.analyzer && { analyzer: data.analyzer }) },
  );
  const trainer = await RlTrainer.create(
    policy,
    environment,
    { queries: data.rl, document: data.document, negatives: data.negatives, truncatedDocuments },
    options,
    reference,
  );
  try {
    await trainLoop(trainer, {
      watch: ['reward', 'completion_length', 'embedded', 'zero_variance'],
      ...loop,
    });
  } finally {
    await trainer.dispose();
    await dispose();
  }
}
