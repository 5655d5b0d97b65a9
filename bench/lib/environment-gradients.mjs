/**
 * The gradient that an environment's rewards give, against that of the true rewards: computed through the model as it was
 * at recorded steps, by the engine and the batches of stage 2.
 */
import { reasoningPrompts } from 'search-r3/checkpoint';
import { frozenCopy, parameterFeeds } from 'search-r3/model';
import { outcomeOf, updateBatch } from 'search-r3/rl';
import { GradientEngine } from 'search-r3/sft';
import { armName, BUDGETS, MAIN, POSITIVES } from './environment-arms.mjs';
import { foundOn } from './environment-recording.mjs';
import { cosine, mean } from './replay.mjs';

const OWN = armName('value', MAIN);
/** The arms compared. */
const GRADIENT_ARMS = [
  POSITIVES,
  ...['periodic', 'random', 'region'].map((policy) => armName(policy, MAIN)),
  armName('value', Math.min(...BUDGETS)),
  OWN,
];
/** Also compared with the contrastive term, which no reward changes, in the update: larger cosines, hardly any apart. */
const WHOLE = [OWN];

/**
 * By arm, the cosine of its gradient with the oracle's over the recorded policies: of the policy gradient alone, and for
 * some of the whole update with the contrastive term. `results`: the replayed arms, with their rewards.
 */
export async function gradientCosines(trajectory, recorded, results, log) {
  const rewards = Object.fromEntries(GRADIENT_ARMS.map((name) => [name, results[name].rewards]));
  const { steps } = await foundOn(recorded.folder, 'gradients', [rewards], async () => ({
    steps: await compute(trajectory, recorded, rewards, log),
  }));
  return Object.fromEntries(
    GRADIENT_ARMS.map((name) => {
      const of = (kind) => {
        const values = steps.map((step) => step[name][kind]).filter((value) => value !== null);
        return { mean: mean(values), lowest: Math.min(...values), steps: values.length };
      };
      return [name, { policy: of('policy'), ...(WHOLE.includes(name) && { update: of('update') }) }];
    }),
  );
}

async function compute(trajectory, { policy, data, options }, rewards, log) {
  const own = frozenCopy(policy);
  const { clipLow, clipHigh, beta, contrastive, optimization, tokenEmbeddings } = options;
  const engine = new GradientEngine(own.config, parameterFeeds(own), {
    tokens: { kind: 'policyGradient', clipLow, clipHigh, beta },
    contrastive: { temperature: contrastive.temperature, margin: 0 },
    trainedToken: tokenEmbeddings === 'frozen' ? own.embedId : undefined,
    maxTokens: optimization.maxTokens,
    checkpoint: optimization.checkpointActivations,
  });
  const kinds = {
    policy: { ...options, contrastive: { ...contrastive, weight: 0 } },
    update: options,
  };
  const steps = trajectory.policySteps.filter((step) => step > 0);
  const results = [];
  for (const [i, step] of steps.entries()) {
    const snapshot = await trajectory.policy(step);
    for (const [name, { data: weights }] of own.weights) weights.set(snapshot.weights[name]);
    const groups = await groupsOf(own, data, options, snapshot.groups);
    const gradient = async (values, kind) => {
      reward(groups, values);
      const { request } = await updateBatch(own, groups, data, kinds[kind], step);
      return request === undefined ? [] : joined((await engine.compute(request)).gradients);
    };
    const { rewards: truth } = await trajectory.step(step);
    const result = Object.fromEntries(Object.keys(rewards).map((name) => [name, {}]));
    for (const [kind, compared] of [
      ['policy', GRADIENT_ARMS],
      ['update', WHOLE],
    ]) {
      const oracle = await gradient(truth, kind);
      for (const name of compared) {
        result[name][kind] = cosine(await gradient(rewards[name][step], kind), oracle);
      }
    }
    results.push(result);
    const shown = result[OWN].policy;
    log(`gradients of step ${step} (${i + 1}/${steps.length}): value 5 % ${shown?.toFixed(4)}`);
  }
  await engine.dispose();
  return results;
}

/** Recorded completions as the rollouts of stage 2. */
async function groupsOf(policy, data, { maxLength }, recorded) {
  const queries = new Map(data.rl.map((query) => [query.id, query]));
  const texts = recorded.map(({ query }) => queries.get(query).text);
  const prompts = await reasoningPrompts(policy.tokenizer, policy.prompts, texts, { maxTokens: maxLength });
  return recorded.map(({ query: id, completions }, i) => {
    const query = queries.get(id);
    const prompt = prompts[i].ids;
    return completions.map((completion) => ({
      query,
      prompt,
      completion,
      outcome: outcomeOf(completion),
      ranking: 0,
      reward: 0,
      rank: null,
    }));
  });
}

/** Gives the rollouts that have an embedding their rewards, in order; the others have none. */
function reward(groups, values) {
  const embedded = groups.flat().filter(({ outcome }) => outcome === 'embedded');
  if (embedded.length !== values.length) {
    throw new Error(`expected rewards of ${embedded.length} rollouts, found ${values.length}`);
  }
  for (const [i, rollout] of embedded.entries()) rollout.reward = values[i];
}

/** One vector of all gradients; the engine overwrites its own. */
function joined(gradients) {
  const length = [...gradients.values()].reduce((total, { length: own }) => total + own, 0);
  const result = new Float32Array(length);
  let at = 0;
  for (const own of gradients.values()) {
    result.set(own, at);
    at += own.length;
  }
  return result;
}
