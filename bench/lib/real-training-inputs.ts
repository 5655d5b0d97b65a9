/**
 * What both sides of the training in the `real` benchmark are given: folders with the base and an adapter, and token ids of
 * SciFact's claims and documents, each cut to 160 tokens.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  directPrompts,
  LINEAR_KINDS,
  type LoraShape,
  loadCheckpoint,
  reasoningPrompts,
  saveCheckpoint,
} from 'search-r3/checkpoint';
import { type Collection, documentText, loadBeir } from 'search-r3/dataset';
import { Model, makePolicy } from 'search-r3/model';
import { exists, randomStream } from 'search-r3/run';
import { type TrainingQuery, trainingQueries } from 'search-r3/sft';
import type { OptimizationOptions } from 'search-r3/train';
import { QUANTISED, REAL_CACHE, scifactFolder } from './paths.js';
import type { RealModel } from './real-inputs.js';

export const MAX_LENGTH = 160;

export const ADAPTER: LoraShape = { rank: 16, alpha: 32, rsLora: false, targets: LINEAR_KINDS };

export const OPTIMIZATION: Omit<OptimizationOptions, 'maxTokens'> = {
  learningRate: 1e-5,
  schedule: 'constant',
  warmupSteps: 0,
  finalLearningRate: 1,
  weightDecay: 0.01,
  betas: [0.9, 0.95],
  maxGradientNorm: 1,
  checkpointActivations: false,
};

/** Of contrastive steps. */
export interface ContrastiveInputs {
  queries: number[][];
  /** The positives of the queries, in their order, then a negative of each; no document twice. */
  documents: number[][];
  temperature: number;
  /** Both sides run it in pieces, with a gradient cache. Else in one pass. */
  cached: boolean;
}

/** Of steps of GRPO. */
export interface GrpoInputs {
  /** Ids of the claims. */
  queries: string[];
  /** Their prompts, after which the model reasons. */
  prompts: number[][];
  samples: number;
  newTokens: number;
  /** The tokens that end a completion: the embed token, and those that end a turn. */
  stop: number[];
  /** How many documents of SciFact the environment ranks beside the positives. Undefined: all. */
  documents?: number;
}

export const readTrainingInputs = async <Inputs extends ContrastiveInputs | GrpoInputs>(
  path: string,
): Promise<Inputs> => JSON.parse(await readFile(path, 'utf8')) as Inputs;

const loadClaims = (): Promise<Collection> => loadBeir(scifactFolder(), { splits: ['train'] });

/** The first claims that share no positive: what occurs twice in a batch would be encoded once by us alone. */
function distinctClaims(collection: Collection, count: number): TrainingQuery[] {
  const taken = new Set<string>();
  const claims: TrainingQuery[] = [];
  for (const query of trainingQueries(collection, 'train')) {
    const answers = [...query.relevant.keys()];
    if (answers.some((id) => taken.has(id))) continue;
    claims.push(query);
    for (const id of answers) taken.add(id);
    if (claims.length === count) break;
  }
  return claims;
}

/** A folder in the cache, written by `write` where it is missing. */
async function once(name: string, write: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(REAL_CACHE, name);
  if (!(await exists(folder))) await write(folder);
  return folder;
}

/** The model as float32 with an embed token. */
const writeBase = ({ gguf }: RealModel) =>
  once('training-base', async (folder) => saveCheckpoint(folder, makePolicy(await loadCheckpoint(gguf))));

/** An adapter whose B is not zero, so that A has a gradient from the first step on. */
const writeAdapter = (base: string) =>
  once('training-adapter-random', async (folder) => {
    await using model = await Model.loadTrainable(base, { precision: 'f32', adapter: ADAPTER });
    for (const [name, { data }] of model.adapter?.weights ?? []) {
      if (!name.endsWith('.lora_B.weight')) continue;
      const random = randomStream(0, 'bench', name);
      for (let i = 0; i < data.length; i++) data[i] = 0.02 * (2 * random.uniform() - 1);
    }
    await model.save(folder);
  });

export interface ContrastiveFiles {
  base: string;
  adapter: string;
  /** The file with the `ContrastiveInputs`. */
  inputs: string;
}

/** `count` claims with a positive and a negative each. */
export async function contrastiveFiles(
  model: RealModel,
  count: number,
  cached: boolean,
): Promise<ContrastiveFiles> {
  process.env.SEARCH_R3_CACHE = QUANTISED;
  const base = await writeBase(model);
  const adapter = await writeAdapter(base);
  const collection = await loadClaims();
  const claims = distinctClaims(collection, count);
  const relevant = new Set(claims.flatMap(({ relevant: own }) => [...own.keys()]));
  const texts = new Map(collection.corpus.map((document) => [document.id, documentText(document)]));
  const positives = claims.map(({ relevant: own }) => [...own.keys()][0]);
  const negatives = [...texts.keys()].filter((id) => !relevant.has(id)).slice(0, claims.length);
  await using loaded = await Model.loadTrainable(adapter, { precision: 'f32' });
  const idsOf = async (asked: string[], role: 'query' | 'document') =>
    mutable(await directPrompts(loaded.tokenizer, loaded.prompts, asked, role, { maxTokens: MAX_LENGTH }));
  const found: ContrastiveInputs = {
    queries: await idsOf(
      claims.map(({ text }) => text),
      'query',
    ),
    documents: await idsOf(
      [...positives, ...negatives].map((id) => texts.get(id) ?? ''),
      'document',
    ),
    temperature: 0.05,
    cached,
  };
  const inputs = join(REAL_CACHE, `inputs-contrastive-${count}.json`);
  await writeFile(inputs, JSON.stringify(found));
  return { base, adapter, inputs };
}

const mutable = (prompts: readonly { ids: readonly number[] }[]): number[][] =>
  prompts.map(({ ids }) => [...ids]);

/**
 * The base with an embed token as likely as the end of a turn. A model that was not trained would never embed: all rewards
 * of a step would be equal, and it would have nothing to compute.
 */
const writeGrpoBase = ({ gguf }: RealModel) =>
  once('training-grpo-base', async (folder) => {
    const policy = makePolicy(await loadCheckpoint(gguf));
    const [end] = policy.stopIds;
    for (const [name, { data, shape }] of policy.weights) {
      if (name !== 'model.embed_tokens.weight' && name !== 'lm_head.weight') continue;
      const width = shape[1];
      data.copyWithin(policy.embedId * width, end * width, (end + 1) * width);
    }
    await saveCheckpoint(folder, policy);
  });

export interface GrpoFiles {
  base: string;
  /** The file with the `GrpoInputs`. */
  inputs: string;
}

export async function grpoFiles(model: RealModel, quick: boolean): Promise<GrpoFiles> {
  process.env.SEARCH_R3_CACHE = QUANTISED;
  const base = await writeGrpoBase(model);
  const claims = distinctClaims(await loadClaims(), quick ? 2 : 16);
  await using loaded = await Model.loadTrainable(base, { precision: 'f32', adapter: ADAPTER });
  const texts = claims.map(({ text }) => text);
  const prompts = await reasoningPrompts(loaded.tokenizer, loaded.prompts, texts, { maxTokens: MAX_LENGTH });
  const found: GrpoInputs = {
    queries: claims.map(({ id }) => id),
    prompts: mutable(prompts),
    samples: quick ? 2 : 8,
    newTokens: quick ? 12 : 44,
    stop: [loaded.embedId, ...loaded.stopIds],
    ...(quick && { documents: 40 }),
  };
  const inputs = join(REAL_CACHE, `inputs-grpo${quick ? '-quick' : ''}.json`);
  await writeFile(inputs, JSON.stringify(found));
  return { base, inputs };
}

/** The claims of the inputs, and the documents that the environment ranks. */
export async function grpoCollection({ queries, documents }: GrpoInputs) {
  const collection = await loadClaims();
  const own = trainingQueries(collection, 'train').filter(({ id }) => queries.includes(id));
  const relevant = new Set(own.flatMap((query) => [...query.relevant.keys()]));
  const others = collection.corpus.filter(({ id }) => !relevant.has(id)).slice(0, documents);
  const corpus = [...collection.corpus.filter(({ id }) => relevant.has(id)), ...others];
  return { queries: own, collection: { ...collection, corpus } };
}
