/**
 * Complete training runs from the same stage 1 model, one that encodes everything at each step and one with the
 * selective environment: nDCG@10 of the final retriever on queries about people it never trained on, and what was
 * encoded for it. They are longer than the recordings and end with a learning rate of 0, because runs that have not
 * converged differ more between seeds than between environments.
 */
import { join } from 'node:path';
import { loadCheckpoint } from 'search-r3/checkpoint';
import type { Collection } from 'search-r3/dataset';
import { bootstrapDifference } from 'search-r3/evaluate';
import { asPolicy, frozenCopy, Model } from 'search-r3/model';
import { runRl } from 'search-r3/pipeline';
import { type RlOptions, rlOptionsSchema } from 'search-r3/rl';
import { exists, readRecords, readRunFolder, runEventSchema } from 'search-r3/run';
import { measure as scoresOf } from './atlas.js';
import type { Log } from './benchmark.js';
import { type AtlasStart, FOLDER, resumable } from './environment-recording.js';
import { kept, keyOf } from './kept.js';
import { mean } from './stats.js';

/** Steps of both runs of a pair. */
const STEPS = { long: 300, quick: 20 };
const COMMON: RlOptions = { optimization: { learningRate: 3e-4, schedule: 'linear', finalLearningRate: 0 } };
type ArmName = 'exact' | 'selective';

const ARMS: Record<ArmName, RlOptions> = {
  exact: { environment: { kind: 'exact' } },
  /** Encodes, audits included, about a fiftieth of what full encoding does. */
  selective: { environment: { kind: 'selective', budget: { fraction: 0.02 } }, auditEvery: 10 },
};
/** The lower end of an interval of this confidence is a one-sided bound of 95 %. */
const CONFIDENCE = 0.9;

/** A training run: nDCG@10 of every held-out query, and the tokens of documents encoded. */
export interface TrainedArm {
  direct: number[];
  reasoned: number[];
  /** From the second step on: the first encodes everything in either arm. */
  tokens: number;
  commit?: string;
}

export type Pair = Record<ArmName, TrainedArm>;

/** Both training runs from a stage 1 model. */
export async function pairedRun(start: AtlasStart, quick: boolean, log: Log): Promise<Pair> {
  return {
    exact: await trained('exact', start, quick, log),
    selective: await trained('selective', start, quick, log),
  };
}

async function trained(
  arm: ArmName,
  { name, key, collection, data, policy, options }: AtlasStart,
  quick: boolean,
  log: Log,
): Promise<TrainedArm> {
  const label = `${name}, ${arm}`;
  const own = { ...options, steps: quick ? STEPS.quick : STEPS.long, ...COMMON, ...ARMS[arm] };
  const folder = join(FOLDER, `${arm}-${keyOf([key, own])}`);
  const model = join(folder, 'model');
  const run = join(folder, 'run');
  if (!(await exists(model))) {
    await using trained = Model.of(frozenCopy(policy));
    await resumable(run, { options: own }, log, label, (loop) =>
      runRl(trained, collection, data, rlOptionsSchema.parse(own), { ...loop, watch: ['reward'] }),
    );
    await trained.save(model);
  }
  return kept(join(FOLDER, 'runs'), [key, own], async () => ({
    ...(await evaluated(model, collection, log, label)),
    tokens: await tokensEncoded(run),
  }));
}

async function evaluated(folder: string, collection: Collection, log: Log, label: string) {
  const policy = asPolicy(await loadCheckpoint(folder));
  const { direct, reasoned } = (await scoresOf(collection, policy)).systems;
  log(`${label}: reasoned ${reasoned.mean.toFixed(3)}, direct ${direct.mean.toFixed(3)}`);
  return { direct: [...direct.perQuery.values()], reasoned: [...reasoned.perQuery.values()] };
}

async function tokensEncoded(run: string): Promise<number> {
  const { eventsPath } = await readRunFolder(run);
  let tokens = 0;
  for await (const event of readRecords(eventsPath, runEventSchema)) {
    if (event.type !== 'step' || event.step === 1) continue;
    for (const [name, value] of Object.entries(event.metrics))
      if (name.startsWith('tokens_')) tokens += value ?? 0;
  }
  return tokens;
}

/** Quantiles of Student's t at 0.95 by degrees of freedom (one-sided). */
const T95 = [Number.NaN, 6.314, 2.92, 2.353, 2.132, 2.015, 1.943, 1.895, 1.86, 1.833];

/**
 * Figures of paired runs by name, and of all together: differences are selective minus exact, `notBelow` their
 * one-sided bound over queries, `notBelowOverSeeds` over the pairs.
 */
export function pairedFigures(runs: Readonly<Record<string, Pair>>) {
  const figures = ({ exact, selective }: Pair) => ({
    queries: exact.reasoned.length,
    exact: mean(exact.reasoned),
    selective: mean(selective.reasoned),
    direct: { exact: mean(exact.direct), selective: mean(selective.direct) },
    difference: mean(selective.reasoned) - mean(exact.reasoned),
    notBelow: bootstrapDifference(exact.reasoned, selective.reasoned, { confidence: CONFIDENCE }).low,
    fewerTokens: exact.tokens / selective.tokens,
    ...(exact.commit !== undefined && { commits: [exact.commit, selective.commit] }),
  });
  const all = Object.values(runs);
  const pooled = (arm: ArmName): TrainedArm => ({
    reasoned: all.flatMap((run) => run[arm].reasoned),
    direct: all.flatMap((run) => run[arm].direct),
    tokens: all.reduce((total, run) => total + run[arm].tokens, 0),
  });
  return {
    ...Object.fromEntries(Object.entries(runs).map(([name, run]) => [name, figures(run)])),
    all: {
      ...figures({ exact: pooled('exact'), selective: pooled('selective') }),
      notBelowOverSeeds: boundOverPairs(
        all.map(({ exact, selective }) => mean(selective.reasoned) - mean(exact.reasoned)),
      ),
    },
  };
}

function boundOverPairs(differences: readonly number[]): number | null {
  const count = differences.length;
  if (count < 2 || count > T95.length) return null;
  const average = mean(differences);
  const squares = differences.reduce((total, x) => total + (x - average) ** 2, 0);
  return average - T95[count - 1] * Math.sqrt(squares / (count - 1) / count);
}
