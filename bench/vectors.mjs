/**
 * Exact scan against the proximity graph: time of a search, cost of a change, recall while vectors are replaced and graphs
 * built, memory. Synthetic unit vectors: 256-d, around 1,000 centres in 64 latent dimensions, as embeddings of a corpus are.
 */
import { randomStream } from 'search-r3/run';
import { AnnIndex, ExactIndex, NeighbourGraph } from 'search-r3/vectors';
import { numbersOf } from './lib/settings.mjs';
import { interleaved, median, rounded } from './lib/stats.mjs';

export const description =
  'exact scan against the ANN graph: search, update, recall after replacement, memory';

const DIMENSION = 256;
const LATENT = 64;
const CENTRES = 1000;
const K = 10;
const SEED = 0;
/** Documents refreshed per step of a training run. */
const STEP = 1000;

export async function run({ quick, log }) {
  // A million vectors (an hour on two cores) are asked for by name.
  const sizes = numbersOf('VECTORS_SIZES') ?? (quick ? [10_000] : [10_000, 100_000]);
  const figures = {};
  for (const size of sizes) figures[size] = await measure(size, quick, log);
  return {
    figures: rounded(figures),
    sizes: { vectors: sizes, dimension: DIMENSION, k: K, step: STEP },
    seeds: [SEED],
  };
}

async function measure(size, quick, log) {
  const world = newWorld();
  const rss = process.memoryUsage().rss;
  const exact = await ExactIndex.create(DIMENSION, { capacity: size });
  const ann = await AnnIndex.create(DIMENSION, { capacity: size, graphFrom: 1 });
  try {
    for (let at = 0; at < size; at += 10_000) {
      const vectors = world.draw(Math.min(10_000, size - at));
      exact.append(vectors);
      ann.append(vectors);
    }
    log(`${size} vectors`);
    const started = performance.now();
    await ann.rebuild();
    const buildSeconds = (performance.now() - started) / 1000;
    log(`graph built in ${buildSeconds.toFixed(0)} s`);
    const recall = await recallOf(ann, exact, world.draw(256));
    log(`recall ${recall.toFixed(3)} with ${ann.graph.width} candidates`);
    const search = {};
    for (const count of [1, 16, 64]) search[count] = await searches(exact, ann, world, count, quick, log);
    return {
      buildSeconds,
      recall,
      width: ann.graph.width,
      search,
      replacement: await replacement(ann, exact, world, size, quick, log),
      neighbours: await neighbours(exact, world, size),
      memoryMb: (process.memoryUsage().rss - rss) / 2 ** 20,
    };
  } finally {
    await ann.dispose();
    await exact.dispose();
  }
}

/** Milliseconds of a search, and how many times the graph is as fast. */
async function searches(exact, ann, world, count, quick, log) {
  const queries = world.draw(count);
  const rate = (index) => async () => {
    const times = [];
    for (let i = 0; i < 5; i++) {
      const started = performance.now();
      await index.search(queries, K);
      times.push(performance.now() - started);
    }
    return 1000 / median(times);
  };
  await rate(exact)();
  const { ours, theirs, ratio } = await interleaved({
    rounds: quick ? 4 : 8,
    ours: rate(ann),
    theirs: rate(exact),
    log: (text) => log(`searches/s of ${count} queries, graph against scan: ${text}`),
  });
  return { graphMs: 1000 / ours.median, exactMs: 1000 / theirs.median, graphToExact: ratio };
}

/** Milliseconds to repair the neighbour lists of one changed row, measured on a sample where lists are built in time. */
async function neighbours(exact, world, size) {
  if (size > 20_000) return null;
  const started = performance.now();
  const graph = await NeighbourGraph.build(exact);
  const buildSeconds = (performance.now() - started) / 1000;
  const rows = Array.from({ length: 200 }, (_, i) => i * 7);
  const vectors = world.draw(rows.length);
  for (const [i, row] of rows.entries()) exact.set(row, vectors.subarray(i * DIMENSION, (i + 1) * DIMENSION));
  const updated = performance.now();
  const { searched } = await graph.update(exact, rows);
  return {
    buildSeconds,
    repairMs: (performance.now() - updated) / rows.length,
    searchedPerRow: searched / rows.length,
  };
}

/** Share of the true nearest that the graph finds. */
async function recallOf(ann, exact, queries) {
  return shareFound(await ann.search(queries, K), exact, queries);
}

/** Share of the true nearest among those found; the index itself learns nothing of it. */
async function shareFound(found, exact, queries) {
  const truth = await exact.search(queries, K);
  const count = queries.length / DIMENSION;
  let hits = 0;
  for (let query = 0; query < count; query++) {
    const rows = ({ rows: all, k }) => [...all.subarray(query * k, (query + 1) * k)];
    const nearest = new Set(rows(truth));
    hits += rows(found).filter((row) => nearest.has(row)).length;
  }
  return hits / (count * K);
}

/**
 * Replaces as many vectors as there are, a thousand a step, every second one by one near it and the others by any; recall and
 * search time at every step, of one search of 64 queries. The index samples its own recall of these searches as it does by
 * default, and acts on that alone.
 */
async function replacement(ann, exact, world, size, quick, log) {
  const random = randomStream(SEED, 'replacement');
  const steps = Math.ceil(size / STEP);
  const told = Math.max(1, Math.floor(steps / (quick ? 10 : 40)));
  const recalls = [];
  const times = [];
  let setMs = 0;
  let changed = 0;
  const builds = ann.graph.builds;
  for (let step = 0; step < steps; step++) {
    const rows = Array.from({ length: STEP }, () => random.integer(size));
    const vectors = world.draw(STEP);
    for (let i = 0; i < STEP; i += 2) world.near(exact.vector(rows[i]), vectors, i);
    const started = performance.now();
    const vectorOf = (i) => vectors.subarray(i * DIMENSION, (i + 1) * DIMENSION);
    for (const [i, row] of rows.entries()) ann.set(row, vectorOf(i));
    setMs += performance.now() - started;
    for (const [i, row] of rows.entries()) exact.set(row, vectorOf(i));
    const queries = world.draw(64);
    const searched = performance.now();
    const found = await ann.search(queries, K);
    times.push(performance.now() - searched);
    changed = Math.max(changed, ann.graph.changed);
    recalls.push(await shareFound(found, exact, queries));
    if (step % told !== 0 && step !== steps - 1) continue;
    const { rows: inGraph, building } = ann.graph;
    log(
      `${(step + 1) * STEP} replaced: recall ${recalls.at(-1).toFixed(3)}, ${inGraph} rows in the graph${building ? ', building' : ''}`,
    );
  }
  await ann.rebuild();
  const last = await recallOf(ann, exact, world.draw(256));
  return {
    replaced: steps * STEP,
    lowestRecall: Math.min(...recalls),
    meanRecall: recalls.reduce((a, b) => a + b) / recalls.length,
    recallAfterRebuild: last,
    builds: ann.graph.builds - builds,
    mostChanged: changed,
    setMs: setMs / (steps * STEP),
    search64Ms: { median: median(times), highest: Math.max(...times) },
  };
}

function newWorld() {
  const random = randomStream(SEED, 'world');
  const normals = (count) => Float32Array.from({ length: count }, () => random.normal());
  const centres = normals(CENTRES * LATENT);
  const directions = normals(LATENT * DIMENSION);
  /** Rows of length 1 [count * DIMENSION]. */
  const draw = (count) => {
    const matrix = new Float32Array(count * DIMENSION);
    const latent = new Float32Array(LATENT);
    for (let row = 0; row < count; row++) {
      const centre = random.integer(CENTRES) * LATENT;
      for (let i = 0; i < LATENT; i++) latent[i] = centres[centre + i] + 0.7 * random.normal();
      const own = matrix.subarray(row * DIMENSION, (row + 1) * DIMENSION);
      for (let i = 0; i < LATENT; i++) {
        for (let j = 0; j < DIMENSION; j++) own[j] += latent[i] * directions[i * DIMENSION + j];
      }
      toLengthOne(own);
    }
    return matrix;
  };
  /** Puts a vector of cosine 0.97 or so with `vector` into a row of `matrix`. */
  const near = (vector, matrix, row) => {
    const own = matrix.subarray(row * DIMENSION, (row + 1) * DIMENSION);
    for (let j = 0; j < DIMENSION; j++) own[j] = vector[j] + (0.25 * random.normal()) / Math.sqrt(DIMENSION);
    toLengthOne(own);
  };
  return { draw, near };
}

function toLengthOne(vector) {
  const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
  for (let j = 0; j < vector.length; j++) vector[j] /= length;
}
