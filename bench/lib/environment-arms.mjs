/** The refresh policies compared on a recording: which there are, their replay, kept as it is made, and their table. */
import { ExactEnvironment, SelectiveEnvironment } from 'search-r3/environment';
import { foundOn } from './environment-recording.mjs';
import { codeDigest } from './kept.mjs';
import { mean, replay } from './replay.mjs';

/** Of the corpus, per step. */
export const BUDGETS = [0.01, 0.02, 0.05, 0.1];
/** The budget at which gradients are compared. */
export const MAIN = 0.05;
/** The budget at which parts are left out: where little is encoded each of them has most to do. */
const SCARCE = 0.01;

const percent = (share) => `${Math.round(100 * share)} %`;
export const armName = (policy, share) => `${policy} ${percent(share)}`;
export const NEVER = 'never refreshed';
export const POSITIVES = 'positives alone';

/** Parts of `value`, each left out once. */
const WITHOUT = {
  'without map': { drift: { map: false } },
  'without kernel': { drift: { kernel: false } },
  'without map and kernel': { drift: { map: false, kernel: false } },
  'without value (random, with map)': { value: { random: 1 } },
  'without refitting (1 round)': { value: { rounds: 1 } },
  'without random share': { value: { random: 0 } },
};

/** Arms by name: `period` in steps between full refreshes, or `options` of the selective environment. */
export function arms(auditEvery) {
  const result = {
    [NEVER]: { period: null },
    [POSITIVES]: { options: { policy: 'random', budget: { documents: 1 } } },
  };
  for (const share of BUDGETS) {
    const budget = { fraction: share };
    result[armName('periodic', share)] = { period: Math.round(1 / share) };
    for (const policy of ['random', 'region', 'value']) {
      result[armName(policy, share)] = { options: { policy, budget } };
    }
  }
  for (const [name, options] of Object.entries(WITHOUT)) {
    result[`${armName('value', SCARCE)}, ${name}`] = {
      options: { budget: { fraction: SCARCE }, ...options },
    };
  }
  for (const share of [SCARCE, 0.02, MAIN]) {
    result[`${armName('value', share)}, audited`] = { options: { budget: { fraction: share } }, auditEvery };
  }
  return result;
}

/** Everything anew every `period` steps, as ANCE and REALM do at their pace; null: only at the first step. */
const periodic =
  (period) =>
  async (ids, { encode, dimension, tokens }) => {
    const exact = await ExactEnvironment.create(ids, encode, { dimension, tokens });
    const due = (step) => (period === null ? step === 0 : step % period === 0);
    return {
      refresh: async (step) =>
        due(step)
          ? { ...(await exact.refresh(step)), expectedError: null }
          : { encoded: {}, expectedError: null, seconds: 0 },
      reward: (batch) => exact.reward(batch),
      dispose: () => exact.dispose(),
    };
  };

const environmentOf = ({ period, options }) =>
  options === undefined
    ? periodic(period)
    : (ids, sources) => SelectiveEnvironment.create(ids, sources, options);

/** All arms replayed on an open trajectory, by name. */
export async function replayArms(folder, trajectory, auditEvery, log) {
  const code = await codeDigest({ modules: ['environment', 'vectors', 'evaluate', 'run'] });
  const results = {};
  const all = Object.entries(arms(auditEvery));
  for (const [i, [name, arm]] of all.entries()) {
    const started = performance.now();
    results[name] = await foundOn(folder, 'arms', [trajectory.steps, code, arm], () =>
      replay(trajectory, environmentOf(arm), arm),
    );
    const { error, share } = results[name];
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    log(
      `arm ${i + 1}/${all.length} ${name}: error ${error.toFixed(4)} at ${(100 * share).toFixed(1)} % (${seconds} s)`,
    );
  }
  return results;
}

/** By how many times the error of `value` is smaller than that of each other policy at the same budget. */
export function factors(results) {
  return Object.fromEntries(
    BUDGETS.map((share) => {
      const own = results[armName('value', share)].error;
      const others = ['periodic', 'random', 'region'].map((policy) => [policy, armName(policy, share)]);
      const all = [[NEVER, NEVER], [POSITIVES, POSITIVES], ...others];
      return [
        percent(share),
        Object.fromEntries(all.map(([label, name]) => [label, results[name].error / own])),
      ];
    }),
  );
}

const FIDELITY = { unrefreshed: 0.05, reward: 0.2 };

/** Whether a trajectory can tell anything: the corpus moves, and the policy is rewarded. */
export async function preconditions(trajectory, results) {
  const rewards = [];
  for (let step = 0; step < trajectory.steps; step++)
    rewards.push(mean((await trajectory.step(step)).rewards));
  const tenth = Math.max(1, Math.floor(rewards.length / 10));
  const neverRefreshed = results[NEVER].error;
  const reward = mean(rewards);
  return {
    neverRefreshed,
    positivesAlone: results[POSITIVES].error,
    reward,
    firstReward: mean(rewards.slice(0, tenth)),
    lastReward: mean(rewards.slice(-tenth)),
    met: neverRefreshed >= FIDELITY.unrefreshed && reward >= FIDELITY.reward,
  };
}

/** The fidelity table for people. */
export function table(results) {
  const head = [
    'policy',
    'encoded',
    'share',
    'error',
    'worst',
    'expected',
    'Spearman',
    'constant',
    'cosine',
    's/step',
  ];
  const number = (value, digits) => (value === null || value === undefined ? '-' : value.toFixed(digits));
  const rows = Object.entries(results).map(([name, own]) => [
    name,
    number(own.encoded, 1),
    `${number(100 * own.share, 2)} %`,
    number(own.error, 5),
    number(own.worst, 4),
    number(own.expected, 5),
    number(own.spearman, 4),
    own.constantGroups,
    number(own.cosine, 5),
    number(own.seconds, 3),
  ]);
  const widths = head.map((_, i) => Math.max(...[head, ...rows].map((row) => row[i].length)));
  const line = (row) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  return [head, ...rows].map(line).join('\n');
}

/** What audits said, by arm. */
export function audits(results) {
  const audited = Object.entries(results).filter(([, { audits: count }]) => count !== undefined);
  return Object.fromEntries(
    audited.map(([name, { audits: count, covered, width, audited: estimate, auditedTruth: truth }]) => [
      name,
      { audits: count, covered, medianWidth: width, meanEstimate: estimate, meanTruth: truth },
    ]),
  );
}

/** Figures of an arm for the line of JSON. */
export const figuresOf = ({ records: _, rewards: __, ...summary }) => summary;
