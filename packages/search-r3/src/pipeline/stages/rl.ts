/** Stage 2: the policy of stage 1 learns which reasoning makes its embedding find the documents. */
import type { Collection } from '../../dataset/index.js';
import type { Model, Policy } from '../../model/index.js';
import { type ResolvedRlOptions, RlTrainer } from '../../rl/index.js';
import { type LoopOptions, trainLoop } from '../../train/index.js';
import type { TrainingData } from '../data/queries.js';
import { readingSettings, type TrainingContext } from '../data/training.js';
import { createEnvironment } from '../environment.js';
import { noteHighRate } from '../learning-rate.js';
import { fittingRl } from '../lengths.js';
import { FREE_SETTINGS, TRAINING_OUTPUTS, type TrainingStage } from './stage.js';

export interface RlInput {
  /** It is trained in place. It has the split that the trained model is to remember. */
  policy: Model<Policy>;
  training: TrainingContext;
}

export const rlStage: TrainingStage<RlInput> = {
  name: 'rl',
  inputs: ['policy', 'training'],
  outputs: TRAINING_OUTPUTS,

  async fingerprint(settings, { policy, training }, { source }) {
    const { data, seed, queries, validation, lora, rl, saveEvery } = settings;
    await fittingRl(settings, policy, source);
    return {
      config: {
        data,
        ...(settings.model !== undefined && { model: settings.model }),
        seed,
        ...readingSettings(settings),
        queries,
        validation,
        ...(lora && { lora }),
        rl,
        saveEvery,
        fingerprints: { data: training.fingerprint, model: await policy.identity() },
      },
      mayChange: [...FREE_SETTINGS, 'rl.steps'],
    };
  },

  async run(settings, { policy, training }, work) {
    const options = await fittingRl(settings, policy, work.source);
    const { maxLength, maxNewTokens, optimization, contrastive } = options;
    noteHighRate(policy, optimization.learningRate, 'rl', work);
    policy.remember({ limits: { maxLength, maxNewTokens }, matryoshka: contrastive.matryoshka });
    const { validate } = work;
    await runRl(policy, training.collection, training.data, options, {
      ...work,
      evaluateEvery: settings.validation.every,
      ...(validate && {
        evaluate: async () => {
          const { reasoned } = await validate(policy, ['reasoned']);
          return { reasoned: { 'ndcg@10': reasoned ?? null } };
        },
      }),
    });
    return policy;
  },
};

/** Stage 2 on a model, in place, in the environment of `options.environment`. The model stays with the caller. */
export async function runRl(
  model: Model<Policy>,
  collection: Collection,
  data: TrainingData,
  options: ResolvedRlOptions,
  loop: LoopOptions = {},
): Promise<void> {
  const reference = options.beta > 0 ? model.frozen() : undefined;
  const { environment, truncatedDocuments } = await createEnvironment(model, collection, data.document, {
    ...options,
    ...(data.analyzer && { analyzer: data.analyzer }),
  });
  const trainer = await RlTrainer.create(
    model,
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
    await environment.dispose();
  }
}
