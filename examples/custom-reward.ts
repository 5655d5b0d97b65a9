/**
 * Research: assembles stage 2 from its parts, with another reward. A rollout earns the reciprocal rank instead of the
 * scaled DCG.
 *
 *     npm run build && node examples/dist/custom-reward.js runs/own/run/sft/model runs/own/collection
 *
 * All modules used here are public: see docs/reference/api.
 */
import { directPrompts } from 'search-r3/checkpoint';
import { loadBeir } from 'search-r3/dataset';
import { memoryWeights, SequenceEncoder } from 'search-r3/decoder';
import { type Environment, ExactEnvironment } from 'search-r3/environment';
import { loadPolicy, trainingData } from 'search-r3/pipeline';
import { RlTrainer, rlOptionsSchema } from 'search-r3/rl';
import { trainLoop } from 'search-r3/train';

const [model = 'runs/own/run/sft/model', source = 'runs/own/collection', steps = '4'] = process.argv.slice(2);

const policy = await loadPolicy(model);
const collection = await loadBeir(source);
const data = trainingData(collection, { seed: 1 });
const options = rlOptionsSchema.parse({
  steps: Number(steps),
  queriesPerStep: 4,
  groupSize: 4,
  maxNewTokens: 12,
});

// The encoder shares the parameters of the policy, which are trained in place, so it follows the policy.
const encoder = await SequenceEncoder.create(policy.config, memoryWeights(policy));
const ids = collection.corpus.map(({ id }) => id);
const prompted = async (wanted: readonly string[]) => {
  const texts = wanted.map(data.document);
  const prompts = await directPrompts(policy.tokenizer, policy.prompts, texts, 'document');
  return prompts.map((prompt) => prompt.ids);
};
const environment = withReward(
  await ExactEnvironment.create(ids, async (wanted) => encoder.encode(await prompted(wanted)), {
    dimension: policy.config.hiddenSize,
  }),
  (rank) => 1 / rank,
);

const { rl: queries, document, negatives } = data;
const trainer = await RlTrainer.create(policy, environment, { queries, document, negatives }, options);
try {
  await trainLoop(trainer, {
    onStep: (step, { metrics, completions = [] }) => {
      const best = completions.reduce((a, b) => (b.reward > a.reward ? b : a));
      console.log(
        `step ${step}: mean reciprocal rank ${metrics.reward?.toFixed(3)}; best: ${best.reasoning.trim()}`,
      );
    },
  });
} finally {
  await trainer.dispose();
  await environment.dispose();
  await encoder.dispose();
}

/** Replaces the reward of an environment with the reciprocal rank of the best relevant document. */
function withReward<E extends Environment>(inner: E, reward: (rank: number) => number): E {
  const ranked = inner.reward.bind(inner);
  inner.reward = async (rollouts) =>
    (await ranked(rollouts)).map(({ rank }) => ({ rank, reward: reward(rank) }));
  return inner;
}
