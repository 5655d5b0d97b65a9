/** The refresh policies compared on a recording: their list, their replay (kept), and their table. */
import type { SelectiveOptions } from 'search-r3/environment';
import { ExactEnvironment, SelectiveEnvironment } from 'search-r3/environment';
import type { Log } from './benchmark.js';
import { foundOn } from './environment-recording.js';
import { codeDigest } from './kept.js';
import { type CreateReplayed, type ReplayResult, type ReplaySummary, replay } from './replay.js';
import { mean } from './stats.js';
import type { Trajectory } from './trajectory.js';

/** Share of the corpus, per step. */
export const BUDGETS = [0.01, 0.02, 0.05, 0.1];
/** The budget at which gradients are compared. */
export const MAIN = 0.05;
/** The budget at which parts are left out: when little is encoded, each part matters most. */
const SCARCE = 0.01;

const percent = (share: number) => `${Math.round(100 * share)} %`;
export const armName = (policy: string, share: number): string => `${policy} ${percent(share)}`;
export const NEVER = 'never refreshed';
export const POSITIVES = 'positives alone';

/** Parts of `value`, each left out once. */
const WITHOUT: Record<string, SelectiveOptions> = {
  'without map': { drift: { map: false } },
  'without kernel': { drift: { kernel: false } },
  'without map and kernel': { drift: { map: false, kernel: false } },
  'without value (random, with map)': { value: { random: 1 } },
  'without refitting (1 round)': { value: { rounds: 1 } },
  'without random share': { value: { random: 0 } },
};

/** `period`: steps between full refreshes; null for the first only. */
type Arm = { period: number | null } | { options: SelectiveOptions; auditEvery?: number };

/** Replayed arms by name. */
export type Results = Record<string, ReplayResult & { commit: string }>;

function arms(auditEvery: number): Record<string, Arm> {
  const result: Record<string, Arm> = {
    [NEVER]: { period: null },
    [POSITIVES]: { options: { policy: 'random', budget: { documents: 1 } } },
  };
  for (const share of BUDGETS) {
    const budget = { fraction: share };
    result[armName('periodic', share)] = { period: Math.round(1 / share) };
    for (const policy of ['random', 'region', 'value'] as const) {
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

/** Encodes everything every `period` steps, as ANCE and REALM do; null: only at the first step. */
const periodic =
  (period: number | null): CreateReplayed =>
  async (ids, { encode, dimension, tokens }) => {
    const exact = await ExactEnvironment.create(ids, encode, { dimension, tokens });
    const isDue = (step: number) => (period === null ? step === 0 : step % period === 0);
    return {
      refresh: async (step) =>
        isDue(step)
          ? { ...(await exact.refresh(step)), expectedError: null }
          : { encoded: {}, expectedError: null, seconds: 0 },
      reward: (batch) => exact.reward(batch),
      dispose: () => exact.dispose(),
    };
  };

const environmentOf = (arm: Arm): CreateReplayed =>
  'options' in arm
    ? (ids, sources) => SelectiveEnvironment.create(ids, sources, arm.options)
    : periodic(arm.period);

/** Replays all arms on an open trajectory. */
export async function replayArms(
  folder: string,
  trajectory: Trajectory,
  auditEvery: number,
  log: Log,
): Promise<Results> {
  const code = await codeDigest({ modules: ['environment', 'vectors', 'evaluate', 'run'] });
  const results: Results = {};
  const all = Object.entries(arms(auditEvery));
  for (const [i, [name, arm]] of all.entries()) {
    const started = performance.now();
    const found = await foundOn(folder, 'arms', [trajectory.steps, code, arm], () =>
      replay(trajectory, environmentOf(arm), 'options' in arm ? arm.auditEvery : 0),
    );
    results[name] = found;
    const seconds = ((performance.now() - started) / 1000).toFixed(0);
    log(
      `arm ${i + 1}/${all.length} ${name}: error ${found.error.toFixed(4)} at ${(100 * found.share).toFixed(1)} % (${seconds} s)`,
    );
  }
  return results;
}

/** How many times larger the error of each other policy is than that of `value` at the same budget. */
export function factors(results: Results): Record<string, Record<string, number>> {
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

export interface Preconditions {
  neverRefreshed: number;
  positivesAlone: number;
  reward: number;
  firstReward: number;
  lastReward: number;
  met: boolean;
}

/** Whether a trajectory is informative: the corpus moves, and the policy earns rewards. */
export async function preconditions(trajectory: Trajectory, results: Results): Promise<Preconditions> {
  const rewards: number[] = [];
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

/** The fidelity table as text. */
export function table(results: Results): string {
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
  const number = (value: number | null, digits: number) => (value === null ? '-' : value.toFixed(digits));
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
  const line = (row: readonly string[]) =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join('  ');
  return [head, ...rows].map(line).join('\n');
}

/** What the audits found, by arm. */
export function audits(results: Results): Record<string, object> {
  return Object.fromEntries(
    Object.entries(results).flatMap(([name, { audits: found }]) => {
      if (found === undefined) return [];
      const { audits: count, covered, width, estimate, truth } = found;
      return [
        [name, { audits: count, covered, medianWidth: width, meanEstimate: estimate, meanTruth: truth }],
      ];
    }),
  );
}

/** Figures of an arm for the JSON line. */
export const figuresOf = ({ records: _, rewards: __, ...summary }: ReplayResult): ReplaySummary => summary;
