/** A trainer of stage 2 on a tiny policy and the tiny collection, as the pipeline puts it together. */
import { directPrompt } from 'search-r3/checkpoint';
import { type Environment, ExactEnvironment } from 'search-r3/environment';
import { type Completion, Generator } from 'search-r3/generate';
import { frozenCopy, Model, type Policy } from 'search-r3/model';
import { type ResolvedRlOptions, RlTrainer } from 'search-r3/rl';
import type { TrainingQuery } from 'search-r3/sft';
import { EpochSampler, type StepRecord } from 'search-r3/train';
import { vi } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { DATA, DOCUMENTS, QUERIES } from '../sft/tiny-data.js';
import type { SampledGroup } from './reference-rl.js';

/** One layer, a head of its own. */
export const policy = tinyPolicy('rl', { layers: 1 });

export interface Stage {
  trainer: RlTrainer;
  model: Model<Policy>;
  /** Trained in place. */
  policy: Policy;
  environment: Environment;
  dispose(): Promise<void>;
}

/** Everything of stage 2 on a copy of the policy. */
export async function stage(
  options: ResolvedRlOptions,
  parts: { policy?: Policy; reference?: Policy; environment?: Environment } = {},
): Promise<Stage> {
  const own = frozenCopy(parts.policy ?? policy);
  const model = Model.of(own);
  const encoder = await model.encoder();
  const limit = { maxTokens: options.maxLength };
  const environment =
    parts.environment ??
    (await ExactEnvironment.create(
      [...DOCUMENTS.keys()],
      async (ids) =>
        encoder.encode(
          await Promise.all(
            ids.map(
              async (id) =>
                (await directPrompt(own.tokenizer, own.prompts, DATA.document(id), 'document', limit)).ids,
            ),
          ),
        ),
      {
        dimension: own.config.hiddenSize,
        ...(options.reward.cut !== undefined && { cut: options.reward.cut }),
      },
    ));
  const trainer = await RlTrainer.create(
    model,
    environment,
    DATA,
    options,
    parts.reference && Model.of(parts.reference),
  );
  const dispose = async () => {
    await trainer.dispose();
    await environment.dispose();
    await model.dispose();
  };
  return { trainer, model, policy: own, environment, dispose };
}

export interface RlRun {
  records: StepRecord[];
  metrics: Record<string, number>[];
  /** What was sampled, step by step. */
  sampled: SampledGroup[][];
  weights: Policy['weights'];
}

/** The queries of a step, without resampling. */
export function queriesOf({ queriesPerStep, seed }: ResolvedRlOptions, step: number): TrainingQuery[] {
  const sampler = new EpochSampler({ count: QUERIES.length, batchSize: queriesPerStep, seed, label: 'rl' });
  return sampler.batch(step).map((i) => QUERIES[i]!);
}

/** Trains and listens to what the generator says. */
export async function train(
  options: ResolvedRlOptions,
  parts: Parameters<typeof stage>[1] = {},
  steps = options.steps,
): Promise<RlRun> {
  const run = await stage(options, parts);
  const generate = vi.spyOn(Generator.prototype, 'generate');
  const records: StepRecord[] = [];
  try {
    for (let step = 0; step < steps; step++) records.push(await run.trainer.step(step));
    const sampled = await Promise.all(
      generate.mock.results.map(async ({ value }, step) =>
        ((await value) as Completion[][]).map((completions, i) => ({
          query: queriesOf(options, step)[i]!,
          completions,
        })),
      ),
    );
    const metrics = records.map((record) => record.metrics as Record<string, number>);
    return { records, metrics, sampled, weights: run.policy.weights };
  } finally {
    generate.mockRestore();
    await run.dispose();
  }
}
