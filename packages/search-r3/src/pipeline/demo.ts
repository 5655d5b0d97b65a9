/**
 * The demonstration: the built-in world through both stages, with its effect on held-out queries. A base model that
 * knows facts and can reason, unreliably, comes with the package.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { checkpointFingerprint, saveCheckpoint } from '../checkpoint/index.js';
import type { Qrels } from '../dataset/index.js';
import { makePolicy, type Policy } from '../decoder/index.js';
import { type Interval, randomisationTest, scoreRankings } from '../evaluate/index.js';
import { ATLAS_PROMPTS } from '../pretrain/index.js';
import { type ResolvedRlOptions, rlOptionsSchema } from '../rl/index.js';
import {
  InputError,
  isRunFolder,
  type ProgressReporter,
  RunFolder,
  readRunFolder,
  validate,
} from '../run/index.js';
import { renderReport } from '../run/report/index.js';
import { type LoopOptions, type ResolvedSftOptions, sftOptionsSchema } from '../sft/index.js';
import { readSteps, type StageSteps } from './curves.js';
import { loadCollection, trainingData } from './data.js';
import { demoReport } from './demo-report.js';
import { evaluatePolicy, type PolicyEvaluation, splitOf } from './evaluate.js';
import { loadModel, loadPolicy } from './load.js';
import { ATLAS } from './settings.js';
import { limitedRl, limitedSft } from './stage-jobs.js';
import { MODEL } from './stage-result.js';
import { runStage, throughStage, within } from './stage-run.js';
import { runRl, runSft, stageOneQueries } from './stages.js';
import { rlLimits, sftLimits } from './training.js';

/** The folder of the base model that comes with the package. */
export const ATLAS_BASE = fileURLToPath(new URL('../../assets/atlas-base', import.meta.url));

export interface DemoOptions {
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
  progress?: ProgressReporter;
  signal?: AbortSignal;
  /** Called with what is going on, for people. */
  onNote?: (text: string) => void;
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
  const { folder, resume = false, seed = 0, queries = 200, onNote = () => {}, signal, progress } = options;
  const start = performance.now();
  const collection = await loadCollection(ATLAS, seed);
  const data = trainingData(collection, { seed });
  const test: Qrels = new Map([...splitOf(collection, 'test')].slice(0, queries));
  const base = await loadModel(options.base ?? ATLAS_BASE);
  const { sft, rl } = await stageOptions(makePolicy(base, ATLAS_PROMPTS), options);
  const config = { seed, queries, sft, rl, fingerprints: { base: checkpointFingerprint(base) } };
  const shared = { ...(progress && { progress }), ...(signal && { signal }) };
  const evaluate = (policy: Policy, systems: readonly ('bm25' | 'direct' | 'reasoned')[], qrels = test) =>
    evaluatePolicy(policy, collection, qrels, { systems, seed, ...(signal && { signal }) });
  const stage = async (
    name: 'sft' | 'rl',
    about: string,
    train: (loop: LoopOptions) => Promise<Policy>,
  ): Promise<Policy> => {
    const own = {
      stage: name,
      config: name === 'sft' ? sft : rl,
      mayChange: [],
      saveEvery: SAVE_EVERY,
      train,
    };
    const { model } = await throughStage(
      join(folder, name),
      about,
      (inner, how) => runStage({ ...own, folder: inner }, how),
      { ...shared, onNote },
    );
    return loadPolicy(model);
  };
  if (!resume) await refuseOtherRun(folder);
  const run = await RunFolder.create(folder, config, { resume, overwrite: !resume });
  return within(run, async () => {
    const policy = await stage(
      'sft',
      `Stage 1: learning to embed, from ${stageOneQueries(data, sft)} queries about people of the first half.`,
      (loop) => runSft({ ...base, limits: sftLimits(sft) }, data, sft, loop, ATLAS_PROMPTS),
    );
    const before = await evaluate(policy, ['bm25', 'direct', 'reasoned']);
    const dev = new Map([...splitOf(collection, 'dev')]);
    const learner = await stage(
      'rl',
      `Stage 2: learning to reason for the embedding, from ${data.rl.length} queries about the other half.`,
      async (loop) => {
        const learning = { ...policy, limits: rlLimits(rl) };
        await runRl(learning, collection, data, rl, {
          ...loop,
          evaluateEvery: Math.max(1, Math.round(rl.steps / 5)),
          evaluate: async () => {
            const { evaluation } = await evaluate(learning, ['reasoned'], dev);
            return { reasoned: { 'ndcg@10': evaluation.systems[0]?.scores['ndcg@10'].mean ?? 0 } };
          },
        });
        return learning;
      },
    );
    const after = await evaluate(learner, ['direct', 'reasoned']);
    const model = join(folder, MODEL);
    await saveCheckpoint(model, learner, { overwrite: true });
    const result = summarize(test, before, after);
    const seconds = (performance.now() - start) / 1000;
    const steps: StageSteps[] = [];
    for (const name of ['sft', 'rl']) {
      const { eventsPath } = await readRunFolder(join(folder, name));
      steps.push(...(await readSteps(eventsPath)));
    }
    const summary = { ...result, queries: test.size, seconds };
    const report = demoReport(summary, steps, collection, before, after, test);
    await run.writeFile('report.html', renderReport(report));
    return { ...summary, model, report: join(folder, 'report.html') };
  });
}

/** The recipe of both stages, with lengths within the model's. */
async function stageOptions(
  policy: Policy,
  { seed = 0, sftSteps = 140, rlSteps = 100 }: DemoOptions,
): Promise<{ sft: ResolvedSftOptions; rl: ResolvedRlOptions }> {
  const sft = validate(sftOptionsSchema, { seed, steps: sftSteps, maxQueries: 2048 }, 'stage 1');
  const rl = validate(rlOptionsSchema, { seed, steps: rlSteps }, 'stage 2');
  return { sft: await limitedSft(sft, policy, {}), rl: await limitedRl(rl, policy, {}) };
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
