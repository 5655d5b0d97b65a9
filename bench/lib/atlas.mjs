/** One seed of the built-in world through both stages, with controls: the parts of the `atlas` benchmark. */
import { fileURLToPath } from 'node:url';
import { loadCheckpoint, reasoningPrompts } from 'search-r3/checkpoint';
import { atlasCollection, documentId, generateAtlas } from 'search-r3/dataset';
import { Embedder, SequenceEncoder } from 'search-r3/embed';
import { bootstrapInterval, RetrieverEvaluation, randomisationTest, scoreRankings } from 'search-r3/evaluate';
import { frozenCopy, parameterFeeds } from 'search-r3/model';
import { evaluatePolicy, runRl, runSft, trainingData } from 'search-r3/pipeline';
import { ATLAS_PROMPTS } from 'search-r3/pretrain';
import { rlOptionsSchema } from 'search-r3/rl';
import { randomStream } from 'search-r3/run';
import { sftOptionsSchema } from 'search-r3/sft';
import { median } from './stats.mjs';

export const BASE = fileURLToPath(new URL('../../packages/search-r3/assets/atlas-base', import.meta.url));

/** Everything that a seed decides: splits, training queries; the base is shared. */
export async function setUp(seed) {
  const world = generateAtlas();
  const collection = atlasCollection(world, seed);
  const data = trainingData(collection, { seed });
  const base = await loadCheckpoint(process.env.ATLAS_BASE ?? BASE);
  return { seed, world, collection, data, base, qrels: collection.qrels.get('test') };
}

export async function trainSft(context, options = {}, loop = {}) {
  const resolved = sftOptionsSchema.parse({
    seed: context.seed,
    steps: 300,
    optimization: { learningRate: 1e-3 },
    ...options,
  });
  return runSft(context.base, context.data, resolved, loop, ATLAS_PROMPTS);
}

/** Stage 2 on a copy of the policy; gives the trained copy. */
export async function trainRl(context, policy, options = {}, loop = {}) {
  const trained = frozenCopy(policy);
  const resolved = rlOptionsSchema.parse({ seed: context.seed, steps: 200, ...options });
  await runRl(trained, context.collection, context.data, resolved, loop);
  return trained;
}

const perQuery = (scores) => [...scores.perQuery.values()];
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** nDCG@10 of a policy by system: mean, interval, per query, by kind of query and by number of facts. */
export async function measure(context, policy, systems = ['direct', 'reasoned'], qrels = context.qrels) {
  const run = await evaluatePolicy(policy, context.collection, qrels, { systems });
  const result = { completed: run.completed };
  for (const [system, rankings] of Object.entries(run.rankings)) {
    const scores = scoreRankings(qrels, rankings, ['ndcg@10'])['ndcg@10'];
    result[system] = {
      mean: scores.mean,
      interval: bootstrapInterval(perQuery(scores)),
      perQuery: scores.perQuery,
      byKind: byKind(context, scores.perQuery),
    };
  }
  return { ...result, reasoned_texts: run.reasoned };
}

function byKind(context, scores) {
  const groups = {};
  for (const [id, score] of scores) {
    const { kind, facts } = context.collection.atlas.get(id);
    const name = `${kind} (${facts.length})`;
    groups[name] ??= [];
    groups[name].push(score);
  }
  return Object.fromEntries(Object.entries(groups).map(([name, values]) => [name, mean(values)]));
}

/** Paired randomisation of two per-query score maps. */
export function compare(a, b) {
  const ids = [...a.keys()];
  return randomisationTest(
    ids.map((id) => a.get(id)),
    ids.map((id) => b.get(id)),
  );
}

/** `texts` with every word where it was but that of the answer's city, which becomes `other`. */
const withCity = (text, city, other) =>
  text
    .split(' ')
    .map((word) => (word === city ? other : word))
    .join(' ');

/** All words of all texts, dealt out anew: every text keeps its length. */
function poolWords(texts, random) {
  const words = random.shuffle(texts.flatMap((text) => text.split(' ')));
  let at = 0;
  return texts.map((text) => {
    const count = text.split(' ').length;
    at += count;
    return words.slice(at - count, at).join(' ');
  });
}

/**
 * nDCG@10 where the model embeds a reasoning that is not its own for the query: another query's, its own words in
 * another order, words drawn from the reasonings of all queries, its own with another city in place of the answer's
 * (`follows_other_city`: the same scored by that city's document), none, and the right one, told as the base learned
 * to tell it.
 */
export async function controls(context, policy, reasoned) {
  const { collection, qrels, world } = context;
  const ids = [...qrels.keys()];
  const random = randomStream(context.seed, 'controls');
  const own = ids.map((id) => reasoned.get(id).reasoning);
  // A rotation by a random amount gives every query the reasoning of another one.
  const shift = 1 + random.integer(ids.length - 1);
  const queries = ids.map((id) => collection.atlas.get(id));
  const others = queries.map((query) => {
    const city = random.choice(world.cities.filter((name) => name !== query.city));
    return { city, document: documentId(city, query.aspect) };
  });
  const variants = {
    own: { texts: own },
    other_query: { texts: own.map((_, i) => own[(i + shift) % own.length]) },
    shuffled_words: { texts: own.map((text) => random.shuffle(text.split(' ')).join(' ')) },
    words_of_all: { texts: poolWords(own, random) },
    other_city: { texts: own.map((text, i) => withCity(text, queries[i].city, others[i].city)) },
    empty: { texts: own.map(() => '') },
    right_chain: { texts: queries.map((query) => query.chain) },
  };
  variants.follows_other_city = {
    texts: variants.other_city.texts,
    qrels: new Map(ids.map((id, i) => [id, new Map([[others[i].document, 1]])])),
  };
  const { tokenizer, prompts, embedId, config } = policy;
  const encoder = await SequenceEncoder.create(config, parameterFeeds(policy));
  const embedder = await Embedder.create(policy);
  const retrieval = new RetrieverEvaluation(embedder, collection);
  const result = {};
  for (const [name, { texts, qrels: judged = qrels }] of Object.entries(variants)) {
    const asked = ids.map((id) => collection.queries.get(id).text);
    const prompted = await reasoningPrompts(tokenizer, prompts, asked);
    const reasoned = await tokenizer.encodeBatch(texts);
    const sequences = prompted.map((prompt, i) => [...prompt.ids, ...reasoned[i], embedId]);
    const rankings = await retrieval.search(ids, await encoder.encode(sequences));
    result[name] = scoreRankings(judged, rankings, ['ndcg@10'])['ndcg@10'].mean;
  }
  await retrieval.dispose();
  await embedder.dispose();
  await encoder.dispose();
  return result;
}

/** Stage 1 again for about `seconds` on the queries of both stages together: what more supervision alone would give. */
export async function continueSft(context, policy, seconds, options = {}) {
  const union = { ...context.data, sft: [...context.data.sft, ...context.data.rl] };
  const run = (steps, loop, more = {}) =>
    runSft(
      frozenCopy(policy),
      union,
      sftOptionsSchema.parse({
        seed: context.seed + 1,
        steps,
        ...options,
        ...more,
        optimization: { warmupSteps: 0, ...options.optimization },
      }),
      loop,
      policy.prompts,
    );
  // Only steps are counted: neither the sampling of targets nor the compiling of programs.
  const times = [];
  const onStep = (step, { timings }) => {
    if (step > 4) times.push(Object.values(timings).reduce((a, b) => a + b, 0));
  };
  await run(10, { onStep }, { maxQueries: 256 });
  const steps = Math.max(10, Math.round(seconds / median(times)));
  return { policy: await run(steps, {}), steps };
}
