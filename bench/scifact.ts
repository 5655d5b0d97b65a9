/**
 * A small model from scratch on SciFact (Wadden et al. 2020, in the BEIR layout), using the documented commands:
 * `train` with examples/scifact.yaml, then `evaluate` on the test claims; seed by seed, with each command timed in its
 * own process. Finished seeds are kept in runs/bench-scifact and reused for the same code; an interrupted one is
 * resumed. SCIFACT names the folder of the collection (default ../shared/data/scifact), SCIFACT_SEEDS=1,2 other seeds.
 */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Interval } from 'search-r3/evaluate';
import type { EvaluationSummary, TrainResult } from 'search-r3/pipeline';
import { exists } from 'search-r3/run';
import type { BenchmarkOptions, BenchmarkResult, Log } from './lib/benchmark.js';
import { command } from './lib/command.js';
import { codeDigest, kept } from './lib/kept.js';
import { ROOT, scifactFolder } from './lib/paths.js';
import { numbersOf } from './lib/settings.js';
import { mean, rounded } from './lib/stats.js';

export const description = 'a small model from scratch on SciFact: train and evaluate, 3 seeds';

const CONFIG = join(ROOT, 'examples/scifact.yaml');
const FOLDER = join(ROOT, 'runs/bench-scifact');

/** Too few steps for the figures to mean anything. */
const QUICK = [
  ...['pretrain.steps=4', 'pretrain.optimization.warmupSteps=1', 'pretrain.batchSize=8'],
  ...['pretrain.contrastive.batchSize=8', 'pretrain.vocabSize=2048', 'queries.titlePairs=false'],
  ...['sft.steps=3', 'sft.optimization.warmupSteps=1', 'sft.batchSize=8'],
  ...['rl.steps=1', 'rl.queriesPerStep=4', 'rl.groupSize=4', 'rl.maxLength=48'],
].flatMap((setting) => ['--set', setting]);
const QUICK_EVALUATION = ['--queries', '60', '--max-length', '48'];

async function collection(): Promise<string> {
  const folder = scifactFolder();
  if (!(await exists(join(folder, 'corpus.jsonl')))) {
    throw new Error(
      `There is no corpus.jsonl in ${folder}. This benchmark needs SciFact in the BEIR layout (corpus.jsonl, ` +
        'queries.jsonl, qrels/train.tsv, qrels/test.tsv); set SCIFACT to its folder.',
    );
  }
  return folder;
}

interface SeedResult {
  systems: Record<string, EvaluationSummary['systems'][number]['scores']>;
  overBm25: Record<string, { difference: number; interval: Interval; p: number }>;
  fusion: EvaluationSummary['fusion'];
  completed: number | null;
  truncated: EvaluationSummary['truncated'];
  stages: Pick<TrainResult['stages'][number], 'stage' | 'steps' | 'metrics'>[];
  queries: number;
  documents: number;
  seconds: { interrupted?: true; train: number; evaluate: number; both: number };
}

async function oneSeed(
  seed: number,
  code: string,
  data: string,
  quick: boolean,
  log: Log,
): Promise<SeedResult> {
  await mkdir(FOLDER, { recursive: true });
  const out = join(FOLDER, `${code}-${quick ? 'quick-' : ''}seed-${seed}`);
  if (!quick) return kept(FOLDER, [code, seed], () => trainAndEvaluate(out, seed, data, quick, log));
  await rm(out, { recursive: true, force: true });
  const figures = await trainAndEvaluate(out, seed, data, quick, log);
  await rm(out, { recursive: true });
  return figures;
}

async function trainAndEvaluate(
  out: string,
  seed: number,
  data: string,
  quick: boolean,
  log: Log,
): Promise<SeedResult> {
  const interrupted = await exists(out);
  if (interrupted) log(`seed ${seed}: resumed; its seconds count from here`);
  const common = ['--config', CONFIG, '--data', data, '--seed', String(seed)];
  const training = await command<TrainResult>(
    'train',
    [...common, '--out', out, ...(quick ? QUICK : []), ...(interrupted ? ['--resume'] : [])],
    (text) => log(`seed ${seed} ${text}`),
  );
  const evaluation = await command<EvaluationSummary>(
    'evaluate',
    [...common, '--model', join(out, 'model'), '--split', 'test', ...(quick ? QUICK_EVALUATION : [])],
    (text) => log(`seed ${seed} ${text}`),
  );
  const { systems, comparisons, fusion, completed, truncated, queries, documents } = evaluation.result;
  return {
    systems: Object.fromEntries(systems.map(({ system, scores }) => [system, scores])),
    overBm25: Object.fromEntries(
      comparisons
        .filter(({ metric, baseline }) => metric === 'ndcg@10' && baseline === 'bm25')
        .map(({ system, difference, interval, p }) => [system, { difference, interval, p }]),
    ),
    fusion,
    completed,
    truncated,
    stages: training.result.stages.map(({ stage, steps, metrics }) => ({ stage, steps, metrics })),
    queries,
    documents,
    seconds: {
      ...(interrupted && { interrupted: true as const }),
      train: Math.round(training.seconds),
      evaluate: Math.round(evaluation.seconds),
      both: Math.round(training.seconds + evaluation.seconds),
    },
  };
}

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const data = await collection();
  if (quick) log('quick: a few steps of one seed with short texts and few claims; the figures mean nothing');
  const seeds = quick ? [0] : (numbersOf('SCIFACT_SEEDS') ?? [0, 1, 2]);
  const code = await codeDigest({ files: ['examples/scifact.yaml'] });
  const bySeed: Record<string, SeedResult> = {};
  for (const seed of seeds) {
    bySeed[seed] = await oneSeed(seed, code, data, quick, log);
    const { systems, seconds } = bySeed[seed];
    const scores = Object.entries(systems).map(([name, own]) => `${name} ${own['ndcg@10'].mean.toFixed(3)}`);
    log(`seed ${seed}: ${scores.join(', ')} in ${seconds.both} s`);
  }
  const all = Object.values(bySeed);
  const [{ queries, documents, stages }] = all;
  const ndcg10 = Object.fromEntries(
    Object.keys(all[0].systems).map((system) => [
      system,
      mean(all.map(({ systems }) => systems[system]['ndcg@10'].mean)),
    ]),
  );
  return {
    figures: rounded({ meanNdcg10: ndcg10, seeds: bySeed }),
    seeds,
    sizes: {
      documents,
      testQueries: queries,
      steps: Object.fromEntries(stages.map(({ stage, steps }) => [stage, steps])),
    },
    ...(quick && { note: 'quick: shows that everything runs; the figures mean nothing' }),
  };
}
