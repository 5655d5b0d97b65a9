/**
 * The exact scan compared with the proximity graph: search time, cost of a change, recall while vectors are replaced
 * and graphs are built, memory. Synthetic unit vectors of dimension 256 around 1,000 centres in 64 latent dimensions,
 * like embeddings of a corpus. VECTORS_SIZES=1000000 chooses other sizes.
 */
import { randomStream } from 'search-r3/run';
import { AnnIndex, ExactIndex, NeighbourGraph, type SearchResult } from 'search-r3/vectors';
import type { BenchmarkOptions, BenchmarkResult, Log } from './lib/benchmark.js';
import { numbersOf } from './lib/settings.js';
import { interleaved, mean, median, rounded } from './lib/stats.js';

export const description =
  'exact scan against the ANN graph: search, update, recall after replacement, memory';

const DIMENSION = 256;
const LATENT = 64;
const CENTRES = 1000;
const K = 10;
const SEED = 0;
/** Documents refreshed per step of a training run. */
const STEP = 1000;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  // A million vectors take an hour on two cores, so only VECTORS_SIZES selects that size.
  const sizes = numbersOf('VECTORS_SIZES') ?? (quick ? [10_000] : [10_000, 100_000]);
  const figures: Record<string, unknown> = {};
  for (const size of sizes) figures[size] = await measure(size, quick, log);
  return {
    figures: rounded(figures),
    sizes: { vectors: sizes, dimension: DIMENSION, k: K, step: STEP },
    seeds: [SEED],
  };
}

async function measure(size: number, quick: boolean, log: Log) {
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
    const search: Record<string, unknown> = {};
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

/** Milliseconds of a search, and how many times faster the graph is. */
async function searches(
  exact: ExactIndex,
  ann: AnnIndex,
  world: World,
  count: number,
  quick: boolean,
  log: Log,
) {
  const queries = world.draw(count);
  const rate = (index: ExactIndex | AnnIndex) => async () => {
    const times: number[] = [];
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

/** Milliseconds to repair the neighbour lists of a changed row, on a sample; null where building takes too long. */
async function neighbours(exact: ExactIndex, world: World, size: number) {
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
async function recallOf(ann: AnnIndex, exact: ExactIndex, queries: Float32Array): Promise<number> {
  return shareFound(await ann.search(queries, K), exact, queries);
}

/** Share of the true nearest among those found. The index does not learn of it. */
async function shareFound(found: SearchResult, exact: ExactIndex, queries: Float32Array): Promise<number> {
  const truth = await exact.search(queries, K);
  const count = queries.length / DIMENSION;
  let hits = 0;
  for (let query = 0; query < count; query++) {
    const rows = ({ rows: all, k }: SearchResult) => [...all.subarray(query * k, (query + 1) * k)];
    const nearest = new Set(rows(truth));
    hits += rows(found).filter((row) => nearest.has(row)).length;
  }
  return hits / (count * K);
}

/**
 * Replaces as many vectors as there are, a thousand per step: every second one by a nearby one, the others by any. Each
 * step measures recall and time of one search of 64 queries. The index acts only on the recall that it samples itself,
 * as it does by default.
 */
async function replacement(
  ann: AnnIndex,
  exact: ExactIndex,
  world: World,
  size: number,
  quick: boolean,
  log: Log,
) {
  const random = randomStream(SEED, 'replacement');
  const steps = Math.ceil(size / STEP);
  const shown = Math.max(1, Math.floor(steps / (quick ? 10 : 40)));
  const recalls: number[] = [];
  const times: number[] = [];
  let setMs = 0;
  let changed = 0;
  const builds = ann.graph.builds;
  for (let step = 0; step < steps; step++) {
    const rows = Array.from({ length: STEP }, () => random.integer(size));
    const vectors = world.draw(STEP);
    for (let i = 0; i < STEP; i += 2) world.near(exact.vector(rows[i]), vectors, i);
    const started = performance.now();
    const vectorOf = (i: number) => vectors.subarray(i * DIMENSION, (i + 1) * DIMENSION);
    for (const [i, row] of rows.entries()) ann.set(row, vectorOf(i));
    setMs += performance.now() - started;
    for (const [i, row] of rows.entries()) exact.set(row, vectorOf(i));
    const queries = world.draw(64);
    const searched = performance.now();
    const found = await ann.search(queries, K);
    times.push(performance.now() - searched);
    changed = Math.max(changed, ann.graph.changed);
    recalls.push(await shareFound(found, exact, queries));
    if (step % shown !== 0 && step !== steps - 1) continue;
    const { rows: inGraph, building } = ann.graph;
    log(
      `${(step + 1) * STEP} replaced: recall ${recalls[step].toFixed(3)}, ${inGraph} rows in the graph${building ? ', building' : ''}`,
    );
  }
  await ann.rebuild();
  const last = await recallOf(ann, exact, world.draw(256));
  return {
    replaced: steps * STEP,
    lowestRecall: Math.min(...recalls),
    meanRecall: mean(recalls),
    recallAfterRebuild: last,
    builds: ann.graph.builds - builds,
    mostChanged: changed,
    setMs: setMs / (steps * STEP),
    search64Ms: { median: median(times), highest: Math.max(...times) },
  };
}

interface World {
  /** Rows of length 1 [count * DIMENSION]. */
  draw(count: number): Float32Array;
  /** Puts a vector of cosine 0.97 or so with `vector` into a row of `matrix`. */
  near(vector: Float32Array, matrix: Float32Array, row: number): void;
}

function newWorld(): World {
  const random = randomStream(SEED, 'world');
  const normals = (count: number) => Float32Array.from({ length: count }, () => random.normal());
  const centres = normals(CENTRES * LATENT);
  const directions = normals(LATENT * DIMENSION);
  const draw = (count: number) => {
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
  const near: World['near'] = (vector, matrix, row) => {
    const own = matrix.subarray(row * DIMENSION, (row + 1) * DIMENSION);
    for (let j = 0; j < DIMENSION; j++) own[j] = vector[j] + (0.25 * random.normal()) / Math.sqrt(DIMENSION);
    toLengthOne(own);
  };
  return { draw, near };
}

function toLengthOne(vector: Float32Array): void {
  const length = Math.sqrt(vector.reduce((sum, x) => sum + x * x, 0));
  for (let j = 0; j < vector.length; j++) vector[j] /= length;
}
