/**
 * A small model from scratch on SciFact (Wadden et al. 2020, in the BEIR layout) by the documented commands: `train` with
 * examples/scifact.yaml, then `evaluate` on the test claims; seed by seed, each command a process of its own, timed.
 * Finished seeds are kept in runs/bench-scifact and not run again for the same code; one that was interrupted goes on
 * where it stood. `--quick` takes a few steps of one seed, which show that everything runs and not what it can do.
 *
 * The collection is looked for in the folder named by SCIFACT, or in ../shared/data/scifact. SCIFACT_SEEDS=1,2 takes those.
 */
import { spawn } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exists } from 'search-r3/run';
import { codeDigest, kept } from './lib/kept.mjs';
import { numbersOf } from './lib/settings.mjs';
import { rounded } from './lib/stats.mjs';

export const description = 'a small model from scratch on SciFact: train and evaluate, 3 seeds';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const CLI = join(ROOT, 'packages/search-r3/dist/cli/main.js');
const CONFIG = join(ROOT, 'examples/scifact.yaml');
const FOLDER = join(ROOT, 'runs/bench-scifact');

/** So little that the figures say nothing. */
const QUICK = [
  ...['pretrain.steps=4', 'pretrain.optimization.warmupSteps=1', 'pretrain.batchSize=8'],
  ...['pretrain.contrastive.batchSize=8', 'pretrain.vocabSize=2048', 'queries.titlePairs=false'],
  ...['sft.steps=3', 'sft.optimization.warmupSteps=1', 'sft.batchSize=8'],
  ...['rl.steps=1', 'rl.queriesPerStep=4', 'rl.groupSize=4', 'rl.maxLength=48'],
].flatMap((setting) => ['--set', setting]);
const QUICK_EVALUATION = ['--queries', '60', '--max-length', '48'];

async function collection() {
  const folder = resolve(process.env.SCIFACT ?? join(ROOT, '../shared/data/scifact'));
  if (!(await exists(join(folder, 'corpus.jsonl')))) {
    throw new Error(
      `There is no corpus.jsonl in ${folder}. This benchmark needs SciFact in the BEIR layout (corpus.jsonl, ` +
        'queries.jsonl, qrels/train.tsv, qrels/test.tsv); set SCIFACT to its folder.',
    );
  }
  return folder;
}

/** Runs a command of the product; its progress goes through `log`, its JSON result comes back with the seconds it took. */
function command(name, args, log) {
  const started = performance.now();
  const child = spawn(process.execPath, [CLI, name, ...args, '--json'], { cwd: ROOT });
  let output = '';
  let last = '';
  let shown = 0;
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text) => {
    const line = text.trim().split('\n').at(-1) ?? '';
    last = (last + text).slice(-2000);
    if (line === '' || performance.now() - shown < 15_000) return;
    shown = performance.now();
    log(`${name}: ${line}`);
  });
  return new Promise((done, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      const seconds = (performance.now() - started) / 1000;
      if (code === 0) done({ result: JSON.parse(output), seconds });
      else reject(new Error(`search-r3 ${name} ended with ${code}:\n${last}`));
    });
  });
}

/** nDCG@10 and the other metrics by system, with intervals; what training saw; seconds. */
async function oneSeed(seed, code, data, quick, log) {
  await mkdir(FOLDER, { recursive: true });
  const out = join(FOLDER, `${code}-${quick ? 'quick-' : ''}seed-${seed}`);
  if (!quick) return kept(FOLDER, [code, seed], () => trainAndEvaluate(out, seed, data, quick, log));
  await rm(out, { recursive: true, force: true });
  const figures = await trainAndEvaluate(out, seed, data, quick, log);
  await rm(out, { recursive: true });
  return figures;
}

async function trainAndEvaluate(out, seed, data, quick, log) {
  const interrupted = await exists(out);
  if (interrupted) log(`seed ${seed}: goes on where it stood; its seconds are those since`);
  const common = ['--config', CONFIG, '--data', data, '--seed', String(seed)];
  const training = await command(
    'train',
    [...common, '--out', out, ...(quick ? QUICK : []), ...(interrupted ? ['--resume'] : [])],
    (text) => log(`seed ${seed} ${text}`),
  );
  const evaluation = await command(
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
      ...(interrupted && { interrupted }),
      train: Math.round(training.seconds),
      evaluate: Math.round(evaluation.seconds),
      both: Math.round(training.seconds + evaluation.seconds),
    },
  };
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

export async function run({ quick, log }) {
  const data = await collection();
  if (quick) log('quick: a few steps of a seed on fewer tokens and claims; the figures are no result');
  const seeds = quick ? [0] : (numbersOf('SCIFACT_SEEDS') ?? [0, 1, 2]);
  const code = await codeDigest({ files: ['examples/scifact.yaml'] });
  const bySeed = {};
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
    ...(quick && { note: 'quick: a few steps, which show that everything runs and not what it can do' }),
  };
}
