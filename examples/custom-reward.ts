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
import { type Environment, ExactEnvironment } from 'search-r3/environment';
import { loadPolicy, trainingData } from 'search-r3/pipeline';
import { RlTrainer, rlOptionsSchema } from 'search-r3/rl';
import { trainLoop } from 'search-r3/train';

const [path = 'runs/own/run/sft/model', source = 'runs/own/collection', steps = '4'] = process.argv.slice(2);

const model = await loadPolicy(path);
const collection = await loadBeir(source);
const data = trainingData(collection, { seed: 1 });
const options = rlOptionsSchema.parse({
  steps: Number(steps),
  queriesPerStep: 4,
  groupSize: 4,
  maxNewTokens: 12,
});

// Encoder and trainer share the weights of the model, which are trained in place.
const encoder = await model.encoder();
const ids = collection.corpus.map(({ id }) => id);
const prompted = async (wanted: readonly string[]) => {
  const texts = wanted.map(data.document);
  const prompts = await directPrompts(model.tokenizer, model.prompts, texts, 'document');
  return prompts.map((prompt) => prompt.ids);
};
const environment = withReward(
  await ExactEnvironment.create(ids, async (wanted) => encoder.encode(await prompted(wanted)), {
    dimension: model.config.hiddenSize,
  }),
  (rank) => 1 / rank,
);

const { rl: queries, document, negatives } = data;
const trainer = await RlTrainer.create(model, environment, { queries, document, negatives }, options);
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
  await model.dispose();
}

/** Replaces the reward of an environment with the reciprocal rank of the best relevant document. */
function withReward<E extends Environment>(inner: E, reward: (rank: number) => number): E {
  const ranked = inner.reward.bind(inner);
  inner.reward = async (rollouts) =>
    (await ranked(rollouts)).map(({ rank }) => ({ rank, reward: reward(rank) }));
  return inner;
}
