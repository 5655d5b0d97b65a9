/**
 * Recordings of stage 2 on Atlas and on SciFact, each with its base model and its stage 1. Everything is kept in a
 * folder named after what it depends on. Existing results are reused; interrupted work resumes from its last
 * checkpoint.
 */
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import {
  type Checkpoint,
  checkpointFingerprint,
  initialiseWeights,
  loadCheckpoint,
  saveCheckpoint,
} from 'search-r3/checkpoint';
import { type AtlasOptions, type AtlasWorld, atlasCollection, generateAtlas } from 'search-r3/dataset';
import { memoryWeights } from 'search-r3/decoder';
import { Generator } from 'search-r3/generate';
import { asPolicy, makePolicy, type Policy } from 'search-r3/model';
import {
  loadTraining,
  pretrain,
  pretrainSettings,
  type RunOptions,
  rlSettings,
  sft,
  sftSettings,
  trainingData,
} from 'search-r3/pipeline';
import {
  ATLAS_PROMPTS,
  atlasConfig,
  atlasSequences,
  atlasTokenizer,
  factRecall,
  PretrainTrainer,
  pretrainOptionsSchema,
} from 'search-r3/pretrain';
import { type RlOptions, rlOptionsSchema } from 'search-r3/rl';
import { exists, isRunFolder, type ProgressReporter, RunFolder } from 'search-r3/run';
import type { SftOptions } from 'search-r3/sft';
import { type LoopOptions, trainLoop } from 'search-r3/train';
import { parse } from 'yaml';
import { BASE, trainSft } from './atlas.js';
import type { Log } from './benchmark.js';
import { kept, keyOf } from './kept.js';
import { ROOT, scifactFolder } from './paths.js';
import { rounded } from './stats.js';
import { isRecorded, record, type Start } from './trajectory.js';

export const FOLDER = join(ROOT, 'runs/bench-environment');

/** What `work` finds on the recording in `folder`, cached by its `kind` and by `key`. */
export const foundOn = <T extends object>(
  folder: string,
  kind: string,
  key: readonly unknown[],
  work: () => Promise<T>,
): Promise<T & { commit: string }> => kept(join(FOLDER, kind), [basename(folder), ...key], work);

/** Steps between checkpoints. */
const SAVE_EVERY = 20;

/** Runs `work` with the options of a training loop that resumes the run in `folder`. */
export async function resumable<T>(
  folder: string,
  config: object,
  log: Log,
  label: string,
  work: (loop: LoopOptions) => Promise<T>,
): Promise<T> {
  const resume = await isRunFolder(folder);
  if (resume) log(`${label}: resumed`);
  const run = await RunFolder.create(folder, config, { resume });
  try {
    return await work({ run, saveEvery: SAVE_EVERY, progress: reporter(log, label) });
  } finally {
    await run.close();
  }
}

/** Progress at most every ten seconds. */
function reporter(log: Log, label: string): ProgressReporter {
  let last = 0;
  return {
    report: ({ stage, step, steps, metrics, etaSeconds }) => {
      if (performance.now() - last < 10_000 && step !== steps) return;
      last = performance.now();
      const figures = Object.entries(metrics).slice(0, 2);
      const shown = figures.map(([name, value]) => `${name} ${value.toPrecision(3)}`).join(' ');
      const left = etaSeconds === null ? '' : `, ${Math.round(etaSeconds)} s left`;
      log(`${label}: ${stage} ${step}/${steps} ${shown}${left}`);
    },
  };
}

/** 5,000 documents: 625 cities with 8 aspects each; as many people as in the world of the demonstration. */
const LARGE = { cities: 625, aspects: 8 };
/** Queries that policies of Atlas are evaluated on. */
const TEST_QUERIES = 1200;
/** Steps of pre-training on it: at most 20 minutes on two cores. */
const LARGE_STEPS = 2400;

/** A base model that knows a world, trained by the product's own pre-training for a world of that size. */
async function atlasBase(
  options: AtlasOptions,
  steps: number,
  log: Log,
): Promise<{ world: AtlasWorld; base: Checkpoint }> {
  const folder = join(FOLDER, `atlas-base-${keyOf([options, steps])}`);
  const model = join(folder, 'model');
  const world = generateAtlas(options);
  if (!(await exists(model))) {
    const tokenizer = atlasTokenizer(world);
    const config = atlasConfig(tokenizer);
    const weights = initialiseWeights(config, 0);
    const resolved = pretrainOptionsSchema.parse({ steps });
    const { batchSize, maxLength } = resolved;
    const whole = atlasSequences(world, tokenizer, batchSize);
    const source = async (step: number) => (await whole(step)).map((ids) => ids.slice(0, maxLength));
    const checkpoint = { config, weights, tokenizer };
    const started = performance.now();
    const trainer = new PretrainTrainer(checkpoint, source, resolved);
    await resumable(join(folder, 'run'), { options, steps }, log, 'base', (loop) =>
      trainLoop(trainer, { ...loop, saveEvery: 200, watch: ['loss'] }),
    );
    await trainer.dispose();
    const generator = await Generator.create(config, memoryWeights(checkpoint));
    const recall = await factRecall(world, tokenizer, generator);
    await generator.dispose();
    const minutes = ((performance.now() - started) / 60_000).toFixed(1);
    log(`base: ${minutes} minutes, facts recalled ${JSON.stringify(rounded(recall, 3))}`);
    await saveCheckpoint(model, makePolicy(checkpoint, ATLAS_PROMPTS));
  }
  return { world, base: await loadCheckpoint(model) };
}

interface Sizes {
  sft: SftOptions;
  rl: RlOptions;
  /** Steps between kept policies. */
  policyEvery: number;
}

/** Sizes of the Atlas recordings. */
const SIZES: Record<'long' | 'quick', Sizes> = {
  long: { sft: { steps: 300 }, rl: { steps: 121 }, policyEvery: 5 },
  quick: {
    sft: { steps: 100, batchSize: 8, maxQueries: 300 },
    rl: { steps: 21, queriesPerStep: 8 },
    policyEvery: 10,
  },
};

export interface AtlasStart extends Start {
  name: string;
  /** Digest of everything that the policy was made from. */
  key: string;
}

/** A recording, and what it was made from. */
export interface Recording extends Omit<Start, 'collection'> {
  name: string;
  folder: string;
}

/** A policy of stage 1 on Atlas, and what stage 2 works on. */
export async function atlasStart(seed: number, quick: boolean, log: Log): Promise<AtlasStart> {
  const name = quick ? `Atlas (600), seed ${seed}` : `Atlas (5,000), seed ${seed}`;
  const { world, base } = quick
    ? { world: generateAtlas(), base: await loadCheckpoint(BASE) }
    : await atlasBase(LARGE, LARGE_STEPS, log);
  const collection = atlasCollection(world, seed, quick ? {} : { testQueries: TEST_QUERIES });
  const data = trainingData(collection, { seed });
  const context = { seed, data, base };
  const { sft: stage1, rl } = quick ? SIZES.quick : SIZES.long;
  const options = rlOptionsSchema.parse({ seed, ...rl });
  const key = keyOf([world.options, checkpointFingerprint(base), seed, stage1]);
  const supervised = join(FOLDER, `atlas-sft-${key}`);
  const policy = await trainedBy(join(supervised, 'model'), () =>
    resumable(join(supervised, 'run'), { key }, log, name, (loop) => trainSft(context, stage1, loop)),
  );
  return { name, key, collection, policy, data, options };
}

/** A recording of stage 2 on Atlas. */
export async function atlasTrajectory(
  seed: number,
  quick: boolean,
  log: Log,
): Promise<AtlasStart & Recording> {
  const start = await atlasStart(seed, quick, log);
  const { policyEvery } = quick ? SIZES.quick : SIZES.long;
  const folder = join(FOLDER, `atlas-recording-${keyOf([start.key, start.options, policyEvery])}`);
  await recorded(start.name, folder, start, policyEvery, log);
  return { ...start, folder };
}

/** The policy at `folder`, trained first if it is missing. */
async function trainedBy(folder: string, train: () => Promise<Policy>): Promise<Policy> {
  if (!(await exists(folder))) await saveCheckpoint(folder, await train());
  return asPolicy(await loadCheckpoint(folder));
}

async function recorded(
  name: string,
  folder: string,
  start: Start,
  policyEvery: number,
  log: Log,
): Promise<void> {
  if (await isRecorded(folder)) return log(`${name}: recorded before`);
  await resumable(join(folder, 'run'), { options: start.options }, log, name, (loop) =>
    record(folder, start, policyEvery, { ...loop, watch: ['reward'] }),
  );
}

/** Steps on SciFact: as many as on Atlas, with the other settings of examples/scifact.yaml. */
const SCIFACT_STEPS = 121;

/** A recording on SciFact by a model from scratch; undefined if the collection is missing. */
export async function scifactTrajectory(seed: number, log: Log): Promise<Recording | undefined> {
  const name = `SciFact, seed ${seed}`;
  const data = scifactFolder();
  if (!(await exists(join(data, 'corpus.jsonl')))) {
    log(`${name}: left out: there is no corpus.jsonl in ${data}. Set SCIFACT to its folder.`);
    return undefined;
  }
  const { out: _, ...example } = parse(await readFile(join(ROOT, 'examples/scifact.yaml'), 'utf8'));
  const common = { ...example, data, seed };
  const { rl: stage2, evaluate: __, ...before } = example;
  const key = keyOf([before, seed]);
  const folderOf = (stage: string) => join(FOLDER, `scifact-${stage}-${key}`);
  const how = async (folder: string): Promise<RunOptions> => ({
    resume: await isRunFolder(folder),
    progress: reporter(log, name),
    onNote: (text) => log(`${name}: ${text}`),
  });
  const base = folderOf('base');
  if (!(await exists(join(base, 'model')))) {
    await pretrain(pretrainSettings.parse({ ...common, out: base }), await how(base));
  }
  const supervised = folderOf('sft');
  if (!(await exists(join(supervised, 'model')))) {
    const settings = sftSettings.parse({ ...common, base: join(base, 'model'), out: supervised });
    await sft(settings, await how(supervised));
  }
  const settings = rlSettings.parse({
    ...common,
    rl: { ...stage2, steps: SCIFACT_STEPS },
    model: join(supervised, 'model'),
    out: folderOf('rl'),
  });
  const { collection, data: own } = await loadTraining(settings);
  const policy = asPolicy(await loadCheckpoint(settings.model));
  const options = rlOptionsSchema.parse({ ...settings.rl, seed });
  const { policyEvery } = SIZES.long;
  const folder = folderOf(`recording-${keyOf([options, policyEvery])}`);
  await recorded(name, folder, { collection, data: own, policy, options }, policyEvery, log);
  return { name, folder, policy, data: own, options };
}
