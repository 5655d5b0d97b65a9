/**
 * Both stages on the built-in world, seed by seed, evaluated on queries about people never seen in training. Shows what
 * each stage adds, compared with BM25, with more supervised training for the same time, and with the reasoning removed;
 * on the first seed, also with parts of the method left out. Finished arms and stage 1 models are kept in
 * runs/bench-atlas and reused for the same code. ATLAS_SEEDS=1,2 chooses other seeds.
 */
import { join } from 'node:path';
import { loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { asPolicy, type Policy } from 'search-r3/model';
import type { RlOptions } from 'search-r3/rl';
import { exists } from 'search-r3/run';
import type { SftOptions } from 'search-r3/sft';
import type { LoopOptions } from 'search-r3/train';
import {
  type AtlasContext,
  byKind,
  compare,
  continueSft,
  controls,
  measure,
  type SystemScores,
  setUp,
  testQrels,
  trainRl,
  trainSft,
} from './lib/atlas.js';
import type { BenchmarkOptions, BenchmarkResult, Log } from './lib/benchmark.js';
import { codeDigest, kept, keyOf } from './lib/kept.js';
import { numbersOf } from './lib/settings.js';
import { rounded } from './lib/stats.js';

export const description = 'both training stages on the built-in world: 3 seeds, controls, ablations';

const FOLDER = 'runs/bench-atlas';

/** Arms of stage 1 and stage 2 that differ from the recipe in one thing. */
const SFT_ARMS: Record<string, SftOptions> = {
  'no cross-entropy': { weights: { crossEntropy: 0 } },
  'no KL': { weights: { kl: 0 } },
  'no InfoNCE': { weights: { infoNce: 0 } },
  'no triplet': { weights: { triplet: 0 } },
};
const RL_ARMS: Record<string, RlOptions> = {
  'policy gradient alone': { contrastive: { weight: 0 } },
  'contrastive term alone': { policyWeight: 0 },
};
const NORMALIZATIONS: Record<string, RlOptions> = {
  'loss normalisation grpo': { lossNormalization: 'grpo' },
  'loss normalisation dr_grpo': { lossNormalization: 'dr_grpo' },
};

interface Steps {
  sft: SftOptions;
  rl: RlOptions;
}

const ASSET = 'packages/search-r3/assets/atlas-base/model.safetensors';
let digest: Promise<string> | undefined;
/** A digest of everything that determines the result of an arm. */
const code = (): Promise<string> => {
  digest ??= codeDigest({ files: ['dist/bench/atlas.js', 'dist/bench/lib/atlas.js', ASSET] });
  return digest;
};

async function arm(name: string, log: Log, work: () => Promise<object>): Promise<object> {
  const result = await kept(FOLDER, [await code(), name], async () => {
    log(`${name} ...`);
    const started = performance.now();
    return { ...(await work()), seconds: Math.round((performance.now() - started) / 1000) };
  });
  log(`${name}: ${JSON.stringify(rounded(result, 3)).slice(0, 400)}`);
  return result;
}

const progress = (log: Log, name: string): LoopOptions => ({
  onStep: (step, { metrics }) => {
    const reward = typeof metrics.reward === 'number' ? ` reward ${metrics.reward.toFixed(3)}` : '';
    if (step % 20 === 0) log(`${name} step ${step}${reward}`);
  },
});

/** Stage 1 of the standard recipe on one seed: trained once, then loaded by every arm that starts from it. */
async function supervised(
  context: AtlasContext,
  options: SftOptions,
  log: Log,
  label: string,
): Promise<Policy> {
  const folder = join(FOLDER, `stage-1-${keyOf([await code(), label, context.seed])}`);
  if (!(await exists(folder))) {
    const policy = await trainSft(context, options, progress(log, `seed ${context.seed} sft`));
    await saveCheckpoint(folder, policy);
  }
  return asPolicy(await loadCheckpoint(folder));
}

/** The full recipe on one seed, with its comparisons. */
async function wholeSeed(seed: number, steps: Steps, log: Log, label: string) {
  const context = await setUp(seed);
  const { collection } = context;
  const policy = await supervised(context, steps.sft, log, label);
  const before = (await measure(collection, policy, ['bm25', 'direct', 'reasoned'])).systems;
  const started = performance.now();
  const trained = await trainRl(context, policy, steps.rl, progress(log, `seed ${seed} rl`));
  const seconds = (performance.now() - started) / 1000;
  const { systems: after, completed, reasoned } = await measure(collection, trained);
  const continued = await continueSft(context, policy, seconds);
  const more = (await measure(collection, continued.policy)).systems;
  const plain = ({ mean, interval, perQuery }: SystemScores) => ({
    ndcg10: mean,
    interval,
    byKind: byKind(collection, perQuery),
  });
  const test = (a: SystemScores, b: SystemScores) => {
    const { difference, p } = compare(a, b);
    return { difference, p };
  };
  return {
    bm25: plain(before.bm25),
    afterSft: { direct: plain(before.direct), reasoned: plain(before.reasoned) },
    afterRl: { direct: plain(after.direct), reasoned: plain(after.reasoned), completed },
    sftContinued: {
      steps: continued.steps,
      direct: plain(more.direct),
      reasoned: plain(more.reasoned),
    },
    gains: {
      overReasonedAfterSft: test(before.reasoned, after.reasoned),
      overSftContinued: test(more.reasoned, after.reasoned),
      overDirectAfterRl: test(after.direct, after.reasoned),
    },
    controls: await controls(context, trained, reasoned),
    rlSeconds: Math.round(seconds),
  };
}

/** nDCG@10 of both systems. */
async function meansOf({ collection }: AtlasContext, policy: Policy) {
  const { direct, reasoned } = (await measure(collection, policy)).systems;
  return { direct: direct.mean, reasoned: reasoned.mean };
}

/** Stage 2 with other options, from the recipe's stage 1. */
async function otherRl(seed: number, options: RlOptions, log: Log, name: string) {
  const context = await setUp(seed);
  const policy = await supervised(context, {}, log, '');
  const trained = await trainRl(context, policy, options, progress(log, `${name} rl`));
  return { afterRl: await meansOf(context, trained) };
}

/** Stage 1 with other options, then the recipe's stage 2. */
async function otherSft(seed: number, options: SftOptions, log: Log, name: string) {
  const context = await setUp(seed);
  const policy = await trainSft(context, options, progress(log, `${name} sft`));
  const afterSft = await meansOf(context, policy);
  const trained = await trainRl(context, policy, {}, progress(log, `${name} rl`));
  return { afterSft, afterRl: await meansOf(context, trained) };
}

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const seeds = quick ? [0] : (numbersOf('ATLAS_SEEDS') ?? [0, 1, 2]);
  const steps: Steps = quick ? { sft: { steps: 60 }, rl: { steps: 20 } } : { sft: {}, rl: {} };
  const label = quick ? 'quick ' : '';
  const bySeed: Record<string, object> = {};
  const ablations: Record<string, object> = {};
  for (const seed of seeds) {
    bySeed[seed] = await arm(`${label}seed ${seed}`, log, () => wholeSeed(seed, steps, log, label));
  }
  if (!quick) {
    for (const [name, options] of Object.entries(RL_ARMS)) {
      for (const seed of seeds) {
        const key = `${name} seed ${seed}`;
        ablations[key] = await arm(key, log, () => otherRl(seed, options, log, key));
      }
    }
  }
  if (!quick && seeds.includes(0)) {
    for (const [name, options] of Object.entries(SFT_ARMS)) {
      ablations[name] = await arm(name, log, () => otherSft(0, options, log, name));
    }
    for (const [name, options] of Object.entries(NORMALIZATIONS)) {
      ablations[name] = await arm(name, log, () => otherRl(0, options, log, name));
    }
  }
  const { collection } = await setUp(0);
  return {
    figures: rounded({ seeds: bySeed, ablations }),
    seeds,
    sizes: { documents: collection.corpus.length, testQueries: testQrels(collection).size },
  };
}
