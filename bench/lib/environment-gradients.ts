/**
 * The gradient from an environment's rewards compared with that from the true rewards, through the model of recorded
 * steps, with the engine and the batches of stage 2.
 */
import { reasoningPrompts } from 'search-r3/checkpoint';
import { fullTraining } from 'search-r3/decoder';
import { frozenCopy, type Policy } from 'search-r3/model';
import type { TrainingData } from 'search-r3/pipeline';
import { type Group, outcomeOf, type ResolvedRlOptions, updateBatch } from 'search-r3/rl';
import type { TrainingQuery } from 'search-r3/sft';
import { GradientEngine } from 'search-r3/train';
import type { Log } from './benchmark.js';
import { armName, BUDGETS, MAIN, POSITIVES, type Results } from './environment-arms.js';
import { foundOn, type Recording } from './environment-recording.js';
import { cosine } from './replay.js';
import { mean } from './stats.js';
import type { RecordedGroup, Trajectory } from './trajectory.js';

const OWN = armName('value', MAIN);
/** The arms compared. */
const GRADIENT_ARMS = [
  POSITIVES,
  ...['periodic', 'random', 'region'].map((policy) => armName(policy, MAIN)),
  armName('value', Math.min(...BUDGETS)),
  OWN,
];
/**
 * Arms whose whole update is compared too. It contains the contrastive term, which no reward changes: cosines are
 * larger and closer together.
 */
const WHOLE = [OWN];

type Kind = 'policy' | 'update';
/** By arm; null if a gradient is zero. */
type StepCosines = Record<string, Partial<Record<Kind, number | null>>>;
/** By arm and step. */
type ArmRewards = Record<string, Record<number, number[]>>;

interface CosineSummary {
  mean: number;
  lowest: number;
  steps: number;
}

/**
 * By arm, the cosine of its gradient with the oracle's over the recorded policies: of the policy gradient alone, and
 * for some arms of the whole update.
 */
export async function gradientCosines(
  trajectory: Trajectory,
  recorded: Recording,
  results: Results,
  log: Log,
): Promise<Record<string, Partial<Record<Kind, CosineSummary>>>> {
  const rewards: ArmRewards = Object.fromEntries(GRADIENT_ARMS.map((name) => [name, results[name].rewards]));
  const { steps } = await foundOn(recorded.folder, 'gradients', [rewards], async () => ({
    steps: await compute(trajectory, recorded, rewards, log),
  }));
  return Object.fromEntries(
    GRADIENT_ARMS.map((name) => {
      const summaryOf = (kind: Kind) => {
        const values = steps.map((step) => step[name][kind] ?? null).filter((value) => value !== null);
        return { mean: mean(values), lowest: Math.min(...values), steps: values.length };
      };
      const update = WHOLE.includes(name) && { update: summaryOf('update') };
      return [name, { policy: summaryOf('policy'), ...update }];
    }),
  );
}

async function compute(
  trajectory: Trajectory,
  { policy, data, options }: Recording,
  rewards: ArmRewards,
  log: Log,
): Promise<StepCosines[]> {
  const own = frozenCopy(policy);
  const { clipLow, clipHigh, beta, contrastive, optimization, tokenEmbeddings } = options;
  const training = fullTraining(own, tokenEmbeddings === 'frozen' ? own.embedId : undefined);
  const engine = new GradientEngine(own.config, training, {
    objective: {
      policyGradient: { clipLow, clipHigh, beta },
      infoNce: { temperature: contrastive.temperature },
    },
    maxTokens: optimization.maxTokens,
    checkpoint: optimization.checkpointActivations,
  });
  const kinds: Record<Kind, ResolvedRlOptions> = {
    policy: { ...options, contrastive: { ...contrastive, weight: 0 } },
    update: options,
  };
  const steps = trajectory.policySteps.filter((step) => step > 0);
  const results: StepCosines[] = [];
  for (const [i, step] of steps.entries()) {
    const snapshot = await trajectory.policy(step);
    for (const [name, { data: weights }] of own.weights) weights.set(snapshot.weights[name]);
    const groups = await groupsOf(own, data, options, snapshot.groups);
    const gradient = async (values: readonly number[], kind: Kind) => {
      setRewards(groups, values);
      const { request } = await updateBatch(own, groups, data, kinds[kind], step);
      return request === undefined ? [] : joined((await engine.compute(request)).gradients);
    };
    const { rewards: truth } = await trajectory.step(step);
    const result: StepCosines = Object.fromEntries(GRADIENT_ARMS.map((name) => [name, {}]));
    for (const [kind, compared] of [
      ['policy', GRADIENT_ARMS],
      ['update', WHOLE],
    ] as const) {
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

/** Recorded completions as rollouts of stage 2. */
async function groupsOf(
  policy: Policy,
  data: TrainingData,
  { maxLength }: ResolvedRlOptions,
  recorded: readonly RecordedGroup[],
): Promise<Group[]> {
  const queries = new Map(data.rl.map((query) => [query.id, query]));
  const asked = recorded.map(({ query }) => queries.get(query) as TrainingQuery);
  const texts = asked.map(({ text }) => text);
  const prompts = await reasoningPrompts(policy.tokenizer, policy.prompts, texts, { maxTokens: maxLength });
  return recorded.map(({ completions }, i) => {
    const query = asked[i];
    const { ids: prompt, truncated } = prompts[i];
    return completions.map((completion) => ({
      query,
      prompt,
      promptTruncated: truncated,
      completion,
      outcome: outcomeOf(completion),
      ranking: 0,
      reward: 0,
      rank: null,
    }));
  });
}

/** Gives the rollouts with an embedding their rewards, in order. */
function setRewards(groups: readonly Group[], values: readonly number[]): void {
  const embedded = groups.flat().filter(({ outcome }) => outcome === 'embedded');
  if (embedded.length !== values.length) {
    throw new Error(`expected rewards of ${embedded.length} rollouts, found ${values.length}`);
  }
  for (const [i, rollout] of embedded.entries()) rollout.reward = values[i];
}

/** One vector of all gradients; the engine overwrites its own. */
function joined(gradients: ReadonlyMap<string, Float32Array>): Float32Array {
  const length = [...gradients.values()].reduce((total, { length: own }) => total + own, 0);
  const result = new Float32Array(length);
  let at = 0;
  for (const own of gradients.values()) {
    result.set(own, at);
    at += own.length;
  }
  return result;
}
