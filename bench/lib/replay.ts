/** Refresh policies replayed on a recorded trajectory, with full re-encoding as the oracle. */
import type {
  AuditReport,
  Environment,
  RefreshReport,
  RolloutBatch,
  RolloutReward,
  SelectiveSources,
} from 'search-r3/environment';
import { advantages } from 'search-r3/rl';
import { copyRows } from 'search-r3/run';
import { mean } from './stats.js';
import type { Trajectory } from './trajectory.js';

/** What replay needs of an environment; a baseline expects no error and makes no audits. */
export interface Replayed {
  refresh(
    step: number,
    batch: RolloutBatch,
  ): Promise<Pick<RefreshReport, 'encoded' | 'seconds'> & { expectedError: number | null }>;
  reward(batch: RolloutBatch): Promise<RolloutReward[]>;
  audit?: Environment['audit'];
  dispose(): Promise<void>;
}

export type CreateReplayed = (
  ids: readonly string[],
  sources: Required<SelectiveSources>,
) => Promise<Replayed>;

interface StepRecord {
  step: number;
  error: number;
  expected: number | null;
  encoded: number;
  seconds: number;
  /** Mean over the groups with variance; null without any. */
  spearman: number | null;
  /** Groups whose true rewards are equal. */
  constant: number;
  groups: number;
  cosine: number | null;
  audit?: Pick<AuditReport, 'interval' | 'rewardError'>;
}

/** Means over the steps. */
export interface ReplaySummary {
  error: number;
  worst: number;
  expected: number | null;
  encoded: number;
  share: number;
  spearman: number | null;
  constantGroups: string;
  cosine: number | null;
  seconds: number;
  audits?: { audits: number; covered: number; width: number; estimate: number; truth: number };
}

export interface ReplayResult extends ReplaySummary {
  records: StepRecord[];
  /** By step, if the policy is known. */
  rewards: Record<number, number[]>;
}

export const totalOf = (counts: Partial<Record<string, number>>): number =>
  Object.values(counts).reduce<number>((sum, value) => sum + (value ?? 0), 0);

/**
 * Follows a trajectory with the environment that `create` returns and compares its rewards with the true ones, from the
 * second step on, because the first encodes everything. `auditEvery` as in training.
 */
export async function replay(
  trajectory: Trajectory,
  create: CreateReplayed,
  auditEvery = 0,
): Promise<ReplayResult> {
  const { ids, dimension, documents, steps, policySteps } = trajectory;
  const rows = new Map(ids.map((id, row) => [id, row]));
  const rowOf = (id: string) => rows.get(id) as number;
  let current = await trajectory.step(0);
  const environment = await create(ids, {
    dimension,
    encode: async (asked) => {
      const own = asked.map(rowOf);
      return copyRows(new Float32Array(own.length * dimension), current.documents, own, dimension);
    },
    tokens: (id) => documents[rowOf(id)].tokens,
    text: (id) => documents[rowOf(id)].text,
    analyzer: 'auto',
  });
  const records: StepRecord[] = [];
  const kept: Record<number, number[]> = {};
  for (let step = 0; step < steps; step++) {
    current = await trajectory.step(step);
    const { batch, rewards, groups } = current;
    const report = await environment.refresh(step, batch);
    const found = (await environment.reward(batch)).map(({ reward }) => reward);
    const isAudited = auditEvery > 0 && step > 0 && step % auditEvery === 0;
    const audit = isAudited ? await environment.audit?.(step, batch) : undefined;
    if (step === 0) continue;
    if (policySteps.includes(step)) kept[step] = found;
    records.push({
      step,
      error: mean(found.map((value, i) => Math.abs(value - rewards[i]))),
      expected: report.expectedError,
      encoded: totalOf(report.encoded) + (audit?.encoded ?? 0),
      seconds: report.seconds,
      ...fidelity(found, rewards, groups),
      ...(audit && { audit: { interval: audit.interval, rewardError: audit.rewardError } }),
    });
  }
  await environment.dispose();
  return { ...summarize(records, ids.length), records, rewards: kept };
}

/** Rewards that differ less within a group teach nothing. */
const CONSTANT = 1e-6;

/** Spearman correlation within groups of different true rewards, and the cosine of the advantages. */
function fidelity(found: readonly number[], truth: readonly number[], groups: readonly number[][]) {
  const byGroup = (rewards: readonly number[]) => groups.map((group) => group.map((i) => rewards[i]));
  const [ours, theirs] = [byGroup(found), byGroup(truth)];
  const varied = theirs.flatMap((rewards, i) =>
    Math.max(...rewards) - Math.min(...rewards) < CONSTANT ? [] : [i],
  );
  const correlations = varied.map((i) => pearson(ranks(ours[i]), ranks(theirs[i])));
  return {
    spearman: correlations.length > 0 ? mean(correlations) : null,
    constant: groups.length - varied.length,
    groups: groups.length,
    cosine: cosine(advantages(ours, 'group').flat(), advantages(theirs, 'group').flat()),
  };
}

/** Null if one of the two is zero. */
export function cosine(a: ArrayLike<number>, b: ArrayLike<number>): number | null {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa * bb > 0 ? ab / Math.sqrt(aa * bb) : null;
}

/** Ranks of values; ties share the mean of theirs. */
function ranks(values: readonly number[]): number[] {
  return values.map(
    (own) =>
      values.filter((value) => value < own).length + (values.filter((value) => value === own).length - 1) / 2,
  );
}

/** 0 if one of the two is constant. */
function pearson(a: readonly number[], b: readonly number[]): number {
  const centred = (values: readonly number[]) => {
    const center = mean(values);
    return values.map((x) => x - center);
  };
  return cosine(centred(a), centred(b)) ?? 0;
}

function summarize(records: readonly StepRecord[], documents: number): ReplaySummary {
  const average = (name: 'expected' | 'spearman' | 'cosine') => {
    const values = records.map((record) => record[name]).filter((value) => value !== null);
    return values.length > 0 ? mean(values) : null;
  };
  const meanOf = (name: 'error' | 'encoded' | 'seconds') => mean(records.map((record) => record[name]));
  const total = (name: 'constant' | 'groups') => records.reduce((sum, record) => sum + record[name], 0);
  const audits = records.flatMap(({ audit, error }) => (audit === undefined ? [] : [{ ...audit, error }]));
  const widths = audits.map(({ interval: [low, high] }) => high - low).sort((x, y) => x - y);
  return {
    error: meanOf('error'),
    worst: Math.max(...records.map(({ error }) => error)),
    expected: average('expected'),
    encoded: meanOf('encoded'),
    share: meanOf('encoded') / documents,
    spearman: average('spearman'),
    constantGroups: `${total('constant')} of ${total('groups')}`,
    cosine: average('cosine'),
    seconds: meanOf('seconds'),
    ...(audits.length > 0 && {
      audits: {
        audits: audits.length,
        covered: mean(
          audits.map(({ interval: [low, high], error }) => Number(low <= error && error <= high)),
        ),
        width: widths[Math.floor(widths.length / 2)],
        estimate: mean(audits.map(({ rewardError }) => rewardError)),
        truth: mean(audits.map(({ error }) => error)),
      },
    }),
  };
}
