/**
 * Both stages on the built-in world, seed by seed, on queries about people never seen in training: what each stage
 * brings, against BM25, against more supervision for the same time, and with the reasoning taken away; then, on the
 * first seed, with parts of the method left out. Finished arms, and what stage 1 made of each seed, are kept in
 * runs/bench-atlas and not run again for the same code. ATLAS_SEEDS=1,2 leaves out what is of other seeds.
 */
import { join } from 'node:path';
import { loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { asPolicy } from 'search-r3/model';
import { exists } from 'search-r3/run';
import { compare, continueSft, controls, measure, setUp, trainRl, trainSft } from './lib/atlas.mjs';
import { codeDigest, kept, keyOf } from './lib/kept.mjs';
import { numbersOf } from './lib/settings.mjs';
import { rounded } from './lib/stats.mjs';

export const description = 'both training stages on the built-in world: 3 seeds, controls, ablations';

const FOLDER = 'runs/bench-atlas';

/** Arms of stage 1 and stage 2 that differ from the recipe in one thing. */
const SFT_ARMS = {
  'no cross-entropy': { weights: { crossEntropy: 0 } },
  'no KL': { weights: { kl: 0 } },
  'no InfoNCE': { weights: { infoNce: 0 } },
  'no triplet': { weights: { triplet: 0 } },
};
const RL_ARMS = {
  'policy gradient alone': { contrastive: { weight: 0 } },
  'contrastive term alone': { policyWeight: 0 },
};
const NORMALIZATIONS = {
  'loss normalisation grpo': { lossNormalization: 'grpo' },
  'loss normalisation dr_grpo': { lossNormalization: 'dr_grpo' },
};

const plain = ({ mean, interval, byKind }) => ({ ndcg10: mean, interval, byKind });

const ASSET = 'packages/search-r3/assets/atlas-base/model.safetensors';
let digest;
/** A digest of everything that decides what an arm gives. */
const code = () => {
  digest ??= codeDigest({ files: ['bench/atlas.mjs', 'bench/lib/atlas.mjs', ASSET] });
  return digest;
};

async function arm(name, log, work) {
  const result = await kept(FOLDER, [await code(), name], async () => {
    log(`${name} ...`);
    const started = performance.now();
    return { ...(await work()), seconds: Math.round((performance.now() - started) / 1000) };
  });
  log(`${name}: ${JSON.stringify(rounded(result, 3)).slice(0, 400)}`);
  return result;
}

const progress = (log, name) => ({
  onStep: (step, { metrics }) => {
    const reward = metrics.reward === undefined ? '' : ` reward ${metrics.reward.toFixed(3)}`;
    if (step % 20 === 0) log(`${name} step ${step}${reward}`);
  },
});

/** The recipe's stage 1 on one seed: trained once, then read back by every arm that starts from it. */
async function supervised(context, options, log, label) {
  const folder = join(FOLDER, `stage-1-${keyOf([await code(), label, context.seed])}`);
  if (!(await exists(folder))) {
    const policy = await trainSft(context, options, progress(log, `seed ${context.seed} sft`));
    await saveCheckpoint(folder, policy);
  }
  return asPolicy(await loadCheckpoint(folder));
}

/** The whole recipe on one seed, with its comparisons. */
async function wholeSeed(seed, steps, log, label) {
  const context = await setUp(seed);
  const policy = await supervised(context, steps.sft, log, label);
  const before = await measure(context, policy, ['bm25', 'direct', 'reasoned']);
  const started = performance.now();
  const trained = await trainRl(context, policy, steps.rl, progress(log, `seed ${seed} rl`));
  const seconds = (performance.now() - started) / 1000;
  const after = await measure(context, trained);
  const continued = await continueSft(context, policy, seconds);
  const more = await measure(context, continued.policy);
  const test = (a, b) => {
    const { difference, p } = compare(a.perQuery, b.perQuery);
    return { difference, p };
  };
  return {
    bm25: plain(before.bm25),
    afterSft: { direct: plain(before.direct), reasoned: plain(before.reasoned) },
    afterRl: { direct: plain(after.direct), reasoned: plain(after.reasoned), completed: after.completed },
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
    controls: await controls(context, trained, after.reasoned_texts),
    rlSeconds: Math.round(seconds),
  };
}

/** Stage 2 with other options, from the recipe's stage 1. */
async function otherRl(seed, options, log, name) {
  const context = await setUp(seed);
  const policy = await supervised(context, {}, log, '');
  const after = await measure(context, await trainRl(context, policy, options, progress(log, `${name} rl`)));
  return { afterRl: { direct: after.direct.mean, reasoned: after.reasoned.mean } };
}

/** Stage 1 with other options, then the recipe's stage 2. */
async function otherSft(seed, options, log, name) {
  const context = await setUp(seed);
  const policy = await trainSft(context, options, progress(log, `${name} sft`));
  const before = await measure(context, policy);
  const after = await measure(context, await trainRl(context, policy, {}, progress(log, `${name} rl`)));
  return {
    afterSft: { direct: before.direct.mean, reasoned: before.reasoned.mean },
    afterRl: { direct: after.direct.mean, reasoned: after.reasoned.mean },
  };
}

export async function run({ quick, log }) {
  const seeds = quick ? [0] : (numbersOf('ATLAS_SEEDS') ?? [0, 1, 2]);
  const steps = quick ? { sft: { steps: 60 }, rl: { steps: 20 } } : { sft: {}, rl: {} };
  const label = quick ? 'quick ' : '';
  const figures = { seeds: {}, ablations: {} };
  for (const seed of seeds) {
    figures.seeds[seed] = await arm(`${label}seed ${seed}`, log, () => wholeSeed(seed, steps, log, label));
  }
  if (!quick) {
    for (const [name, options] of Object.entries(RL_ARMS)) {
      for (const seed of seeds) {
        const key = `${name} seed ${seed}`;
        figures.ablations[key] = await arm(key, log, () => otherRl(seed, options, log, key));
      }
    }
  }
  if (!quick && seeds.includes(0)) {
    for (const [name, options] of Object.entries(SFT_ARMS)) {
      figures.ablations[name] = await arm(name, log, () => otherSft(0, options, log, name));
    }
    for (const [name, options] of Object.entries(NORMALIZATIONS)) {
      figures.ablations[name] = await arm(name, log, () => otherRl(0, options, log, name));
    }
  }
  const context = await setUp(0);
  return {
    figures: rounded(figures),
    seeds,
    sizes: { documents: context.collection.corpus.length, testQueries: context.qrels.size },
  };
}
