/**
 * The demonstration: the built-in world through both stages, with its effect on held-out queries. A base model that
 * knows facts and can reason, unreliably, comes with the package.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { checkpointFingerprint } from '../checkpoint/index.js';
import type { Collection, Qrels } from '../dataset/index.js';
import { type Interval, randomisationTest, scoreRankings } from '../evaluate/index.js';
import { Model, makePolicy } from '../model/index.js';
import { ATLAS_PROMPTS } from '../pretrain/index.js';
import { rlOptionsSchema } from '../rl/index.js';
import { InputError, isRunFolder, readRunFolder, validate } from '../run/index.js';
import { sftOptionsSchema } from '../sft/index.js';
import { type TrainSettings, trainSettings } from './config.js';
import { sizedToCollection } from './data/collection-size.js';
import { loadModel, loadPolicy } from './data/load.js';
import { splitOf } from './data/split.js';
import { loadTraining } from './data/training.js';
import { fittingRl, fittingSft } from './lengths.js';
import { readSteps } from './report/curves.js';
import { demoReport } from './report/demo-report.js';
import type { StageResult } from './result.js';
import { type Plan, planned, plannedTraining, type RunOptions, runPlan } from './run-plan.js';
import { ATLAS } from './settings.js';
import type { PolicyEvaluation } from './stages/evaluate.js';
import { STAGES } from './stages/index.js';
import { publishRun } from './stages/report.js';
import { stageOneQueries } from './stages/sft.js';
import type { Stage } from './stages/stage.js';

/** The folder of the base model that comes with the package. */
export const ATLAS_BASE = fileURLToPath(new URL('../../assets/atlas-base', import.meta.url));

export interface DemoOptions extends Pick<RunOptions, 'progress' | 'signal' | 'onNote'> {
  /** Where the run goes; what an earlier demonstration left there is replaced, unless it is resumed. */
  folder: string;
  /** Go on with the demonstration that was stopped there, with the same options. Default false. */
  resume?: boolean;
  /** Base model. Default the one of the package. */
  base?: string;
  seed?: number;
  /** Default 140. */
  sftSteps?: number;
  /** Default 100. */
  rlSteps?: number;
  /** Held-out queries of the evaluation. Default 200. */
  queries?: number;
}

export interface DemoResult {
  /** nDCG@10 on held-out queries. */
  systems: { system: string; ndcg10: number; interval: Interval }[];
  /** Reasoned embedding: after stage 2 minus after stage 1. */
  gain: number;
  /** Two-sided paired randomisation test of the gain. */
  p: number;
  queries: number;
  /** Of this call: a resumed demonstration has taken longer in all. */
  seconds: number;
  /** Paths of the trained model and the report. */
  model: string;
  report: string;
}

/** Steps between checkpoints, from which a stopped demonstration goes on. */
const SAVE_EVERY = 50;

/** What the run folder of a demonstration keeps of its settings. */
const demoConfig = z.strictObject({
  seed: z.int(),
  queries: z.int(),
  sft: z.unknown(),
  rl: z.unknown(),
  fingerprints: z.strictObject({ base: z.string() }),
});

/** An earlier demonstration is replaced, anybody's training is not. */
async function refuseOtherRun(folder: string): Promise<void> {
  if (!(await isRunFolder(folder))) return;
  const { config } = await readRunFolder(folder);
  if (demoConfig.safeParse(config).success) return;
  throw new InputError({
    source: folder,
    expected: 'a new folder, or the one of an earlier demonstration',
    found: 'a run of another kind, which would be lost',
  });
}

/** Runs the demonstration and writes its report. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { folder, resume = false } = options;
  const plan = await demoPlan(options, performance.now());
  if (!resume) await refuseOtherRun(folder);
  return runPlan(plan, { ...options, resume, overwrite: !resume });
}

/** Both stages, each followed by an evaluation on held-out queries. */
async function demoPlan(options: DemoOptions, began: number): Promise<Plan<DemoResult>> {
  const { folder, seed = 0, queries = 200 } = options;
  const asked = settingsOf(options);
  const training = await loadTraining(asked);
  const { collection, data } = training;
  const settings = sizedToCollection(asked, { sft: data.sft.length, rl: data.rl.length });
  const test: Qrels = new Map([...splitOf(collection, 'test')].slice(0, queries));
  const base = await loadModel(options.base ?? ATLAS_BASE);
  const start = Model.of(makePolicy(base, ATLAS_PROMPTS));
  // Lengths within the model's. In the order of the schemas, as the configs of both stages show them.
  const recipe = {
    sft: sftOptionsSchema.parse(await fittingSft(settings, start, 'settings')),
    rl: rlOptionsSchema.parse(await fittingRl(settings, start, 'settings')),
  };
  const given = { collection: () => collection, qrels: () => test };
  const sft = plannedTraining(
    { ...STAGES.sft, fingerprint: async () => ({ config: recipe.sft, mayChange: [] }) },
    {
      settings,
      sources: { base: () => start, training: () => training },
      folder: join(folder, 'sft'),
      part: {
        about: `Stage 1: learning to embed, from ${stageOneQueries(data, recipe.sft)} queries about people of the first half.`,
      },
    },
  );
  const trainedSft = () => loadPolicy(sft.output().model);
  const before = planned(
    STAGES.evaluate,
    { systems: ['bm25', 'direct', 'reasoned'], seed },
    { policy: trainedSft, ...given },
  );
  const rl = plannedTraining(
    { ...STAGES.rl, fingerprint: async () => ({ config: recipe.rl, mayChange: [] }) },
    {
      settings,
      sources: { policy: trainedSft, training: () => training },
      folder: join(folder, 'rl'),
      validation: () => ({
        collection,
        qrels: splitOf(collection, 'dev'),
        options: { seed },
        afterwards: [],
      }),
      part: {
        about: `Stage 2: learning to reason for the embedding, from ${data.rl.length} queries about the other half.`,
      },
    },
  );
  const after = planned(
    STAGES.evaluate,
    { systems: ['direct', 'reasoned'], seed },
    { policy: () => loadPolicy(rl.output().model), ...given },
  );
  const report = planned(
    demoReportStage,
    { folder, began },
    {
      results: () => [sft.output(), rl.output()],
      before: () => before.output(),
      after: () => after.output(),
      ...given,
    },
  );
  const fingerprints = { base: checkpointFingerprint(base) };
  const config = { seed, queries, ...recipe, fingerprints };
  return {
    whole: { folder, fingerprint: { config, mayChange: [] } },
    stages: [sft, before, rl, after, report],
    result: report.output,
  };
}

interface DemoReportInput {
  results: readonly StageResult[];
  before: PolicyEvaluation;
  after: PolicyEvaluation;
  collection: Collection;
  qrels: Qrels;
}

/** The report stage of the demonstration: its table and what stage 2 changed. */
const demoReportStage: Stage<{ folder: string; began: number }, DemoReportInput, DemoResult> = {
  name: 'report',
  inputs: ['results', 'before', 'after', 'collection', 'qrels'],
  outputs: STAGES.report.outputs,
  run: async ({ folder, began }, { results, before, after, collection, qrels }) => {
    const seconds = (performance.now() - began) / 1000;
    const summary = { ...summarize(qrels, before, after), queries: qrels.size, seconds };
    const runs = await Promise.all(results.map(({ run }) => readRunFolder(run)));
    const steps = await Promise.all(runs.map(({ eventsPath }) => readSteps(eventsPath)));
    const content = demoReport(summary, steps.flat(), collection, before, after, qrels);
    return { ...summary, ...(await publishRun(folder, content, results)) };
  },
};

/** The recipe of both stages. */
function settingsOf({ folder, seed = 0, sftSteps = 140, rlSteps = 100 }: DemoOptions): TrainSettings {
  const recipe = {
    data: ATLAS,
    out: folder,
    seed,
    saveEvery: SAVE_EVERY,
    validation: { every: Math.max(1, Math.round(rlSteps / 5)) },
    sft: { steps: sftSteps, maxQueries: 2048 },
    rl: { steps: rlSteps },
  };
  return validate(trainSettings, recipe, 'demonstration');
}

/** The table of the demonstration, and the gain that stage 2 brought. */
function summarize(
  test: Qrels,
  before: PolicyEvaluation,
  after: PolicyEvaluation,
): Pick<DemoResult, 'systems' | 'gain' | 'p'> {
  const row = (name: string, evaluation: PolicyEvaluation, system: string) => {
    const scores = evaluation.evaluation.systems.find((entry) => entry.system === system)?.scores['ndcg@10'];
    if (scores === undefined) throw new Error(`internal: no scores of ${system}`);
    return { system: name, ndcg10: scores.mean, interval: scores.interval };
  };
  const perQuery = ({ rankings }: PolicyEvaluation) => {
    const scores = scoreRankings(test, rankings.reasoned ?? new Map(), ['ndcg@10'])['ndcg@10'];
    return [...test.keys()].map((id) => scores.perQuery.get(id) ?? 0);
  };
  const { difference, p } = randomisationTest(perQuery(before), perQuery(after));
  return {
    systems: [
      row('BM25', before, 'bm25'),
      row('direct, after stage 1', before, 'direct'),
      row('reasoned, after stage 1', before, 'reasoned'),
      row('direct, after stage 2', after, 'direct'),
      row('reasoned, after stage 2', after, 'reasoned'),
    ],
    gain: difference,
    p,
  };
}
