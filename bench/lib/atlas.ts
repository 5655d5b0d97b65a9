/** One seed of the built-in world through both stages, with controls: the parts of the `atlas` benchmark. */
import { join } from 'node:path';
import {
  type Checkpoint,
  loadCheckpoint,
  type PromptOverrides,
  reasoningPrompts,
} from 'search-r3/checkpoint';
import {
  type AtlasCollection,
  type AtlasQuery,
  type AtlasWorld,
  atlasCollection,
  type Collection,
  documentId,
  generateAtlas,
  type Qrels,
} from 'search-r3/dataset';
import { Embedder, type Embedding } from 'search-r3/embed';
import {
  bootstrapInterval,
  type Interval,
  type RandomisationResult,
  RetrieverEvaluation,
  type RetrieverSystem,
  randomisationTest,
  scoreRankings,
} from 'search-r3/evaluate';
import { frozenCopy, Model, makePolicy, type Policy } from 'search-r3/model';
import { evaluatePolicy, runRl, runSft, type TrainingData, trainingData } from 'search-r3/pipeline';
import { ATLAS_PROMPTS } from 'search-r3/pretrain';
import { type RlOptions, rlOptionsSchema } from 'search-r3/rl';
import { type RandomStream, randomStream } from 'search-r3/run';
import { type ResolvedSftOptions, type SftOptions, sftOptionsSchema } from 'search-r3/sft';
import type { LoopOptions } from 'search-r3/train';
import { ROOT } from './paths.js';
import { mean, median } from './stats.js';

export const BASE = join(ROOT, 'packages/search-r3/assets/atlas-base');

/** Everything that depends on the seed (splits, training queries), and the shared base. */
export interface AtlasContext {
  seed: number;
  world: AtlasWorld;
  collection: AtlasCollection;
  data: TrainingData;
  base: Checkpoint;
}

export async function setUp(seed: number): Promise<AtlasContext> {
  const world = generateAtlas();
  const collection = atlasCollection(world, seed);
  const data = trainingData(collection, { seed });
  const base = await loadCheckpoint(process.env.ATLAS_BASE ?? BASE);
  return { seed, world, collection, data, base };
}

export const testQrels = ({ qrels }: Collection): Qrels => qrels.get('test') as Qrels;

export async function trainSft(
  { seed, base, data }: Pick<AtlasContext, 'seed' | 'base' | 'data'>,
  options: SftOptions = {},
  loop: LoopOptions = {},
): Promise<Policy> {
  const resolved = sftOptionsSchema.parse({
    seed,
    steps: 300,
    optimization: { learningRate: 1e-3 },
    ...options,
  });
  return sftTrained(base, data, resolved, loop, ATLAS_PROMPTS);
}

/** Stage 1 on a copy of the base. */
async function sftTrained(
  base: Checkpoint,
  data: TrainingData,
  options: ResolvedSftOptions,
  loop: LoopOptions,
  prompts: PromptOverrides,
): Promise<Policy> {
  await using model = Model.of(makePolicy(frozenCopy(base), prompts));
  await runSft(model, data, options, loop);
  return model.checkpoint;
}

/** Stage 2 on a copy of the policy. @returns the trained copy. */
export async function trainRl(
  context: AtlasContext,
  policy: Policy,
  options: RlOptions = {},
  loop: LoopOptions = {},
): Promise<Policy> {
  await using model = Model.of(frozenCopy(policy));
  const resolved = rlOptionsSchema.parse({ seed: context.seed, steps: 200, ...options });
  await runRl(model, context.collection, context.data, resolved, loop);
  return model.checkpoint;
}

export interface SystemScores {
  mean: number;
  interval: Interval;
  perQuery: Map<string, number>;
}

export interface Measured {
  /** nDCG@10. */
  systems: Record<RetrieverSystem, SystemScores>;
  completed: number | null;
  reasoned: Map<string, Embedding>;
}

/** nDCG@10 of a policy by system, on the test queries. */
export async function measure(
  collection: Collection,
  policy: Policy,
  systems: readonly RetrieverSystem[] = ['direct', 'reasoned'],
): Promise<Measured> {
  const qrels = testQrels(collection);
  await using model = Model.of(policy);
  const run = await evaluatePolicy(model, collection, qrels, { systems });
  const scored = Object.entries(run.rankings).map(([system, rankings]) => {
    const { mean: average, perQuery } = scoreRankings(qrels, rankings, ['ndcg@10'])['ndcg@10'];
    return [system, { mean: average, interval: bootstrapInterval([...perQuery.values()]), perQuery }];
  });
  return { systems: Object.fromEntries(scored), completed: run.completed, reasoned: run.reasoned };
}

/** Means by kind of query and number of facts. */
export function byKind(
  { atlas }: AtlasCollection,
  scores: ReadonlyMap<string, number>,
): Record<string, number> {
  const groups: Record<string, number[]> = {};
  for (const [id, score] of scores) {
    const { kind, facts } = atlas.get(id) as AtlasQuery;
    const name = `${kind} (${facts.length})`;
    groups[name] ??= [];
    groups[name].push(score);
  }
  return Object.fromEntries(Object.entries(groups).map(([name, values]) => [name, mean(values)]));
}

/** Paired randomisation of the scores of two systems. */
export function compare(a: SystemScores, b: SystemScores): RandomisationResult {
  const ids = [...a.perQuery.keys()];
  return randomisationTest(
    ids.map((id) => a.perQuery.get(id) as number),
    ids.map((id) => b.perQuery.get(id) as number),
  );
}

/** `text` with the answer's city replaced by `other`. */
const withCity = (text: string, city: string, other: string) =>
  text
    .split(' ')
    .map((word) => (word === city ? other : word))
    .join(' ');

/** Redistributes the words of all texts at random; every text keeps its length. */
function poolWords(texts: readonly string[], random: RandomStream): string[] {
  const words = random.shuffle(texts.flatMap((text) => text.split(' ')));
  let at = 0;
  return texts.map((text) => {
    const count = text.split(' ').length;
    at += count;
    return words.slice(at - count, at).join(' ');
  });
}

/**
 * nDCG@10 when the model embeds reasoning other than its own for the query: that of another query (`other_query`), its
 * own words shuffled, words drawn from the reasoning of all queries, its own with another city in place of the answer's
 * (`follows_other_city` scores the same by that city's document), none, and the right one in the words that the base
 * learned.
 */
export async function controls(
  context: AtlasContext,
  policy: Policy,
  reasoned: ReadonlyMap<string, Embedding>,
): Promise<Record<string, number>> {
  const { collection, world } = context;
  const qrels = testQrels(collection);
  const ids = [...qrels.keys()];
  const random = randomStream(context.seed, 'controls');
  const own = ids.map((id) => reasoned.get(id)?.reasoning as string);
  // A rotation by a random amount gives every query the reasoning of another one.
  const shift = 1 + random.integer(ids.length - 1);
  const queries = ids.map((id) => collection.atlas.get(id) as AtlasQuery);
  const others = queries.map((query) => {
    const city = random.choice(world.cities.filter((name) => name !== query.city));
    return { city, document: documentId(city, query.aspect) };
  });
  const otherCity = own.map((text, i) => withCity(text, queries[i].city, others[i].city));
  const variants: Record<string, { texts: string[]; qrels?: Qrels }> = {
    own: { texts: own },
    other_query: { texts: own.map((_, i) => own[(i + shift) % own.length]) },
    shuffled_words: { texts: own.map((text) => random.shuffle(text.split(' ')).join(' ')) },
    words_of_all: { texts: poolWords(own, random) },
    other_city: { texts: otherCity },
    empty: { texts: own.map(() => '') },
    right_chain: { texts: queries.map((query) => query.chain) },
    follows_other_city: {
      texts: otherCity,
      qrels: new Map(ids.map((id, i) => [id, new Map([[others[i].document, 1]])])),
    },
  };
  const { tokenizer, prompts, embedId } = policy;
  await using model = Model.of(policy);
  const encoder = await model.encoder();
  const embedder = new Embedder(model);
  const retrieval = new RetrieverEvaluation(embedder, collection);
  const result: Record<string, number> = {};
  const asked = await reasoningPrompts(
    tokenizer,
    prompts,
    queries.map(({ text }) => text),
  );
  for (const [name, { texts, qrels: judged = qrels }] of Object.entries(variants)) {
    const written = await tokenizer.encodeBatch(texts);
    const sequences = asked.map((prompt, i) => [...prompt.ids, ...written[i], embedId]);
    const rankings = await retrieval.search(ids, await encoder.encode(sequences));
    result[name] = scoreRankings(judged, rankings, ['ndcg@10'])['ndcg@10'].mean;
  }
  await retrieval.dispose();
  return result;
}

/** Continues stage 1 for about `seconds` on the queries of both stages: what more supervision alone would give. */
export async function continueSft(
  context: AtlasContext,
  policy: Policy,
  seconds: number,
): Promise<{ policy: Policy; steps: number }> {
  const union = { ...context.data, sft: [...context.data.sft, ...context.data.rl] };
  const run = (steps: number, loop: LoopOptions, more: SftOptions = {}) =>
    sftTrained(
      policy,
      union,
      sftOptionsSchema.parse({ seed: context.seed + 1, steps, ...more, optimization: { warmupSteps: 0 } }),
      loop,
      policy.prompts,
    );
  // Only steps are timed, not the sampling of targets or the compilation of programs.
  const times: number[] = [];
  const onStep: LoopOptions['onStep'] = (step, { timings }) => {
    if (step > 4) times.push(Object.values(timings).reduce((a, b) => a + b, 0));
  };
  await run(10, { onStep }, { maxQueries: 256 });
  const steps = Math.max(10, Math.round(seconds / median(times)));
  return { policy: await run(steps, {}), steps };
}
