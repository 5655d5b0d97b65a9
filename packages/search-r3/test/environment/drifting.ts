/**
 * A seeded corpus that drifts as under training: every step turns all vectors by one small linear map, pushes them by a
 * smooth function of position and topic, and adds a little noise to each.
 */
import type { RolloutBatch } from 'search-r3/environment';
import { type RandomStream, randomStream } from 'search-r3/run';

export interface DriftingOptions {
  documents: number;
  dimension: number;
  topics: number;
  steps: number;
  queries: number;
  samples: number;
  seed: number;
  /** Sizes of the parts of a step. */
  linear?: number;
  smooth?: number;
  noise?: number;
}

export interface DriftingCorpus {
  ids: string[];
  dimension: number;
  /** The vector of a document at a version, by row. */
  vector(row: number, version: number): Float32Array;
  texts: string[];
  batches: RolloutBatch[];
}

const normals = (random: RandomStream, count: number) => Array.from({ length: count }, () => random.normal());

export function unit(values: readonly number[]): number[] {
  const length = Math.hypot(...values);
  return values.map((x) => x / length);
}

export function drifting(options: DriftingOptions): DriftingCorpus {
  const { documents, dimension, topics, steps, queries, samples, seed } = options;
  const { linear = 0.06, smooth = 0.06, noise = 0.01 } = options;
  const random = randomStream(seed, 'drifting');
  const centers = Array.from({ length: topics }, () => normals(random, dimension));
  const topicOf = Array.from({ length: documents }, () => random.integer(topics));
  let now = topicOf.map((topic) =>
    unit(normals(random, dimension).map((x, k) => centers[topic]![k]! + 0.8 * x)),
  );
  const versions = [now];
  for (let step = 1; step < steps; step++) {
    const turn = Array.from({ length: dimension }, () =>
      normals(random, dimension).map((x) => (linear * x) / Math.sqrt(dimension)),
    );
    const waves = Array.from({ length: dimension }, () => normals(random, dimension));
    const push = Array.from({ length: topics }, () => normals(random, dimension));
    now = now.map((x, row) =>
      unit(
        x.map((own, k) => {
          const turned = x.reduce((total, value, j) => total + value * turn[j]![k]!, 0);
          const wave = Math.sin(2 * x.reduce((total, value, j) => total + value * waves[k]![j]!, 0));
          const scale = smooth / Math.sqrt(dimension);
          const shaken = (noise * random.normal()) / Math.sqrt(dimension);
          return own + turned + scale * (wave + push[topicOf[row]!]![k]!) + shaken;
        }),
      ),
    );
    versions.push(now);
  }
  const batches = versions.map((vectors) => {
    const rollouts: number[][] = [];
    const relevant: ReadonlyMap<string, number>[] = [];
    for (let query = 0; query < queries; query++) {
      const row = random.integer(documents);
      const other = random.integer(documents);
      const grades = new Map([[`d${row}`, 2]]);
      if (query % 3 === 0 && other !== row) grades.set(`d${other}`, 1);
      for (let sample = 0; sample < samples; sample++) {
        rollouts.push(unit(vectors[row]!.map((x) => x + (2 * random.normal()) / Math.sqrt(dimension))));
        relevant.push(grades);
      }
    }
    return { vectors: Float32Array.from(rollouts.flat()), relevant };
  });
  return {
    ids: topicOf.map((_, row) => `d${row}`),
    dimension,
    vector: (row, version) => Float32Array.from(versions[version]![row]!),
    texts: topicOf.map((topic, row) => `topic${topic} word${row % 7} thing${row}`),
    batches,
  };
}

/** The sources of an environment on a drifting corpus; `now` is the version of the policy. */
export function sources(corpus: DriftingCorpus, now: () => number) {
  const row = (id: string) => Number(id.slice(1));
  return {
    dimension: corpus.dimension,
    encode: async (ids: readonly string[]) =>
      Float32Array.from(ids.flatMap((id) => [...corpus.vector(row(id), now())])),
    tokens: (id: string) => 3 + (row(id) % 5),
    text: (id: string) => corpus.texts[row(id)]!,
  };
}
