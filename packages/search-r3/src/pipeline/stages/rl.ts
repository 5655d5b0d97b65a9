/** Stage 2: the policy of stage 1 learns which reasoning makes its embedding find the documents. */
import { checkpointFingerprint } from '../../checkpoint/index.js';
import type { Collection } from '../../dataset/index.js';
import { frozenCopy, Model, type Policy } from '../../model/index.js';
import { type ResolvedRlOptions, RlTrainer } from '../../rl/index.js';
import { type LoopOptions, trainLoop } from '../../train/index.js';
import type { TrainingData } from '../data/queries.js';
import { readingSettings, type TrainingContext } from '../data/training.js';
import { createEnvironment } from '../environment.js';
import { noteHighRate } from '../learning-rate.js';
import { fittingRl } from '../lengths.js';
import { FREE_SETTINGS, TRAINING_OUTPUTS, type TrainingStage } from './stage.js';

export interface RlInput {
  /** Its weights are trained in place. It has the split that the trained model is to remember. */
  policy: Policy;
  training: TrainingContext;
}

export const rlStage: TrainingStage<RlInput> = {
  name: 'rl',
  inputs: ['policy', 'training'],
  outputs: TRAINING_OUTPUTS,

  async fingerprint(settings, { policy, training }, { source }) {
    const { data, seed, queries, validation, rl, saveEvery } = settings;
    await fittingRl(settings, policy, source);
    return {
      config: {
        data,
        ...(settings.model !== undefined && { model: settings.model }),
        seed,
        ...readingSettings(settings),
        queries,
        validation,
        rl,
        saveEvery,
        fingerprints: { data: training.fingerprint, model: checkpointFingerprint(policy) },
      },
      mayChange: [...FREE_SETTINGS, 'rl.steps'],
    };
  },

  async run(settings, { policy, training }, work) {
    const options = await fittingRl(settings, policy, work.source);
    const { maxLength, maxNewTokens, optimization } = options;
    noteHighRate(policy, optimization.learningRate, 'rl', work);
    const learner: Policy = { ...policy, limits: { maxLength, maxNewTokens } };
    const { validate } = work;
    await runRl(learner, training.collection, training.data, options, {
      ...work,
      evaluateEvery: settings.validation.every,
      ...(validate && {
        evaluate: async () => {
          const { reasoned } = await validate(learner, ['reasoned']);
          return { reasoned: { 'ndcg@10': reasoned ?? null } };
        },
      }),
    });
    return learner;
  },
};

/** Stage 2 on a policy, in place, in the environment of `options.environment`. */
export async function runRl(
  policy: Policy,
  collection: Collection,
  data: TrainingData,
  options: ResolvedRlOptions,
  loop: LoopOptions = {},
): Promise<void> {
  const reference = options.beta > 0 ? frozenCopy(policy) : undefined;
  const model = Model.of(policy);
  try {
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
  } finally {
    await model.dispose();
  }
}
