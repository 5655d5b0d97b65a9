/**
 * The demonstration: the built-in world through both stages, with its effect on held-out queries. A base model that
 * knows facts and can reason, unreliably, comes with the package.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { saveCheckpoint } from '../checkpoint/index.js';
import type { Qrels } from '../dataset/index.js';
import { type Interval, randomisationTest, scoreRankings } from '../evaluate/index.js';
import { frozenCopy, type Policy } from '../model/index.js';
import { ATLAS_PROMPTS } from '../pretrain/index.js';
import { rlOptionsSchema } from '../rl/index.js';
import { type ProgressReporter, RunFolder, validate } from '../run/index.js';
import { renderReport } from '../run/report/index.js';
import { type LoopOptions, type StepRecord, sftOptionsSchema } from '../sft/index.js';
import type { StageSteps } from './curves.js';
import { ATLAS, loadCollection, trainingData } from './data.js';
import { demoReport } from './demo-report.js';
import { evaluatePolicy, type PolicyEvaluation, splitOf } from './evaluate.js';
import { loadModel } from './load.js';
import { warningNotes } from './stage-run.js';
import { runRl, runSft } from './stages.js';

/** The folder of the base model that comes with the package. */
export const ATLAS_BASE = fileURLToPath(new URL('../../assets/atlas-base', import.meta.url));

export interface DemoOptions {
  /** Where the run goes; what an earlier demonstration left there is replaced. */
  folder: string;
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
  seconds: number;
  /** Paths of the trained model and the report. */
  model: string;
  report: string;
}

/** Runs the demonstration and writes its report. */
export async function runDemo(options: DemoOptions): Promise<DemoResult> {
  const { folder, seed = 0, sftSteps = 140, rlSteps = 100, queries = 200, onNote = () => {} } = options;
  const start = performance.now();
  const collection = await loadCollection(ATLAS, seed);
  const data = trainingData(collection, { seed });
  const test: Qrels = new Map([...splitOf(collection, 'test')].slice(0, queries));
  const base = await loadModel(options.base ?? ATLAS_BASE);
  const sft = validate(sftOptionsSchema, { seed, steps: sftSteps, maxQueries: 2048 }, 'stage 1');
  const rl = validate(rlOptionsSchema, { seed, steps: rlSteps }, 'stage 2');
  const run = await RunFolder.create(folder, { seed, queries, sft, rl }, { overwrite: true });
  const steps: StageSteps[] = [];
  const record =
    (stage: string) =>
    (step: number, { metrics }: StepRecord) => {
      steps.push({ stage, step, metrics });
    };
  const shared = {
    ...(options.progress && { progress: options.progress }),
    ...(options.signal && { signal: options.signal }),
  };
  const evaluate = (policy: Policy, systems: readonly ('bm25' | 'direct' | 'reasoned')[], qrels = test) =>
    evaluatePolicy(policy, collection, qrels, {
      systems,
      seed,
      ...(options.signal && { signal: options.signal }),
    });
  const stage = async <T>(name: string, work: (loop: LoopOptions) => Promise<T>): Promise<T> => {
    const inner = await RunFolder.create(join(folder, name), name === 'sft' ? sft : rl, { overwrite: true });
    try {
      const warnings = warningNotes(name, { onNote });
      const result = await work({
        ...shared,
        run: inner,
        saveEvery: 1_000_000,
        onStep: record(name),
        onWarning: warnings.add,
      });
      warnings.close();
      return result;
    } finally {
      await inner.close();
    }
  };
  try {
    onNote(`Stage 1: learning to embed, from ${data.sft.length} queries about people of the first half.`);
    const policy = await stage('sft', (loop) => runSft(base, data, sft, loop, ATLAS_PROMPTS));
    const before = await evaluate(policy, ['bm25', 'direct', 'reasoned']);
    onNote(
      `Stage 2: learning to reason for the embedding, from ${data.rl.length} queries about the other half.`,
    );
    const learner = frozenCopy(policy);
    const dev = new Map([...splitOf(collection, 'dev')]);
    await stage('rl', (loop) =>
      runRl(learner, collection, data, rl, {
        ...loop,
        evaluateEvery: Math.max(1, Math.round(rlSteps / 5)),
        evaluate: async (finished) => {
          const { evaluation } = await evaluate(learner, ['reasoned'], dev);
          const ndcg = evaluation.systems[0]?.scores['ndcg@10'].mean ?? 0;
          steps.push({ stage: 'dev', step: finished, metrics: { ndcg } });
          return { reasoned: { 'ndcg@10': ndcg } };
        },
      }),
    );
    const after = await evaluate(learner, ['direct', 'reasoned']);
    const model = join(folder, 'model');
    await saveCheckpoint(model, learner, { overwrite: true });
    const result = summarize(test, before, after);
    const seconds = (performance.now() - start) / 1000;
    const report = demoReport(
      { ...result, queries: test.size, seconds },
      steps,
      collection,
      before,
      after,
      test,
    );
    await run.writeFile('report.html', renderReport(report));
    return { ...result, queries: test.size, seconds, model, report: join(folder, 'report.html') };
  } finally {
    await run.close();
  }
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
