/**
 * A synthetic corpus of any size whose vectors drift like those of a recording. Unit vectors of dimension 256 lie
 * around 1,000 centres of 100 topics in 64 latent dimensions. Every step adds a linear part, a smooth nonlinear one and
 * noise, then normalises. The true vectors lie in a file, so that the memory measured is that of the environment.
 */
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import {
  add,
  div,
  emit,
  f32,
  floats,
  Graph,
  gemm,
  type HostTensor,
  mul,
  type Program,
  Session,
  sqrt,
  sum,
  tanh,
  type Value,
} from 'onnx-grad';
import type { RolloutBatch } from 'search-r3/environment';
import { type RandomStream, randomStream } from 'search-r3/run';
import { ExactIndex } from 'search-r3/vectors';
import { type Drift, measureDrift, PAIRS } from './environment-calibration.js';
import { mean } from './stats.js';

export const DIMENSION = 256;
const LATENT = 64;
const CENTRES = 1000;
const TOPICS = 100;
/** Directions whose tanh pushes vectors, in the nonlinear part; pushes of topics are as large. */
const WAVES = 128;
const BLOCK = 16_384;
const BYTES = 4 * DIMENSION;
/** Size of the pool that the noise of a vector is cut from, at a random place. */
const NOISE = 1 << 20;
/** Rounds of calibration. */
const ROUNDS = 3;

/** Sizes of the parts of the drift. */
interface Parts {
  linear: number;
  smooth: number;
  noise: number;
}

/** The matrices of a step. */
interface StepMatrices {
  version: number;
  parts: Parts;
  linear: HostTensor;
  waves: HostTensor;
  push: HostTensor;
  topics: Float32Array;
}

export interface RolloutSizes {
  queries: number;
  samples: number;
  /** Distance of rollouts from their document. */
  spread: number;
}

const normalsOf = (random: RandomStream, count: number, scale = 1) =>
  Float32Array.from({ length: count }, () => scale * random.normal());

const unitRows = (x: Value) => div(x, sqrt(sum(mul(x, x), [1], true)));

/** Latent vectors through the directions. */
function drawProgram(): Program {
  const graph = new Graph();
  const latent = graph.input('latent', 'float32', ['rows', LATENT]);
  const directions = graph.input('directions', 'float32', [LATENT, DIMENSION]);
  graph.output('vectors', unitRows(gemm(latent, directions)));
  return emit(graph);
}

/** unit(x + x L + tanh(x W) P + given), where `given` are pushes of topics and noise. */
function driftProgram(): Program {
  const graph = new Graph();
  const x = graph.input('x', 'float32', ['rows', DIMENSION]);
  const given = graph.input('given', 'float32', ['rows', DIMENSION]);
  const linear = graph.input('linear', 'float32', [DIMENSION, DIMENSION]);
  const waves = graph.input('waves', 'float32', [DIMENSION, WAVES]);
  const push = graph.input('push', 'float32', [WAVES, DIMENSION]);
  const smooth = gemm(tanh(gemm(x, waves)), push, { c: given });
  graph.output('moved', unitRows(add(x, gemm(x, linear, { c: smooth }))));
  return emit(graph);
}

export class SyntheticCorpus {
  readonly #path: string;
  readonly #size: number;
  readonly #seed: number;
  readonly #file: number;
  readonly #drift: Session;
  readonly #drawing: Session;
  readonly #scan: ExactIndex;
  readonly #directions: Float32Array;
  readonly #noise: Float32Array;
  readonly #centreOf: Uint16Array;
  #parts: Parts = { linear: 0, smooth: 0, noise: 0 };
  #matrices: StepMatrices | undefined;

  private constructor(
    path: string,
    size: number,
    seed: number,
    random: RandomStream,
    tools: { drift: Session; drawing: Session; scan: ExactIndex },
  ) {
    this.#path = path;
    this.#size = size;
    this.#seed = seed;
    this.#file = openSync(path, 'w+');
    this.#drift = tools.drift;
    this.#drawing = tools.drawing;
    this.#scan = tools.scan;
    this.#directions = normalsOf(random, LATENT * DIMENSION);
    this.#noise = normalsOf(random, NOISE, 1 / Math.sqrt(DIMENSION));
    this.#centreOf = Uint16Array.from({ length: size }, () => random.integer(CENTRES));
  }

  /** @param path of the file for the true vectors; `dispose` removes it. */
  static async create(path: string, size: number, seed: number): Promise<SyntheticCorpus> {
    const random = randomStream(seed, 'world');
    const topics = normalsOf(random, TOPICS * LATENT);
    const centres = Float32Array.from(
      { length: CENTRES * LATENT },
      (_, i) => topics[i % topics.length] + 0.7 * random.normal(),
    );
    const corpus = new SyntheticCorpus(path, size, seed, random, {
      drift: await Session.create(driftProgram()),
      drawing: await Session.create(drawProgram()),
      scan: await ExactIndex.create(DIMENSION, { capacity: BLOCK }),
    });
    await corpus.#fill(centres, random);
    return corpus;
  }

  /** Draws the vectors of all documents around their centres. */
  async #fill(centres: Float32Array, random: RandomStream): Promise<void> {
    ftruncateSync(this.#file, this.#size * BYTES);
    for (let start = 0; start < this.#size; start += BLOCK) {
      const end = Math.min(start + BLOCK, this.#size);
      const latent = new Float32Array((end - start) * LATENT);
      for (let row = start; row < end; row++) {
        for (let i = 0; i < LATENT; i++) {
          const centre = centres[this.#centreOf[row] * LATENT + i];
          latent[(row - start) * LATENT + i] = centre + 0.7 * random.normal();
        }
      }
      this.#write(start, await this.#vectors(latent));
    }
  }

  readonly id = (row: number): string => `d${row}`;

  readonly row = (id: string): number => Number(id.slice(1));

  /** Two words of the topic and two others. */
  readonly text = (id: string): string => {
    const row = this.row(id);
    const topic = this.#topicOf(row);
    return `topic${topic} about${topic} word${row % 7} thing${row % 89}`;
  };

  /** True vectors of rows as they are now. */
  gather(rows: readonly number[]): Float32Array<ArrayBuffer> {
    const result = new Float32Array(rows.length * DIMENSION);
    const bytes = new Uint8Array(result.buffer);
    for (let at = 0; at < rows.length; ) {
      let end = at + 1;
      while (end < rows.length && rows[end] === rows[end - 1] + 1) end++;
      // One system call takes at most 2 GiB.
      end = Math.min(end, at + BLOCK);
      readSync(this.#file, bytes, at * BYTES, (end - at) * BYTES, rows[at] * BYTES);
      at = end;
    }
    return result;
  }

  /** Finds sizes of the parts for which the measured drift of the first step is `target`. */
  async calibrate(target: Drift): Promise<{ measured: Drift; shares: Parts }> {
    const rows = Array.from({ length: PAIRS }, (_, i) => Math.floor((i * this.#size) / PAIRS));
    const old = this.gather(rows);
    const texts = rows.map((row) => this.text(this.id(row)));
    // Shares of the squared movement. Map and kernel find part of the smooth share.
    const smooth = Math.max(0, target.both - target.map);
    const shares = { linear: target.both - smooth, smooth, noise: 1 - target.both };
    const within = (x: number, most: number) => Math.min(most, Math.max(0, x));
    let scale = 1;
    let measured: Drift = { square: 0, map: 0, both: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const sizeOf = (share: number) => Math.sqrt(scale * target.square * share);
      this.#parts = {
        linear: sizeOf(shares.linear),
        smooth: sizeOf(shares.smooth),
        noise: sizeOf(shares.noise),
      };
      measured = await measureDrift(old, await this.#moved(old, rows, 0), DIMENSION, texts);
      scale *= target.square / measured.square;
      shares.noise = within(shares.noise + measured.both - target.both, 1);
      shares.smooth = within(
        shares.smooth + target.both - target.map - (measured.both - measured.map),
        1 - shares.noise,
      );
      shares.linear = 1 - shares.noise - shares.smooth;
    }
    return { measured, shares };
  }

  /** Moves everything by the step that leads to `version`. */
  async advance(version: number): Promise<void> {
    for (let start = 0; start < this.#size; start += BLOCK) {
      const x = this.#block(start);
      const rows = Array.from({ length: x.length / DIMENSION }, (_, i) => start + i);
      this.#write(start, await this.#moved(x, rows, version));
    }
  }

  /** Groups of rollouts around documents. Half of the distance is shared by the group, half is each rollout's own. */
  async rollouts(version: number, { queries, samples, spread }: RolloutSizes): Promise<RolloutBatch> {
    const random = randomStream(this.#seed, 'rollouts', version);
    const positives = Array.from({ length: queries }, () => random.integer(this.#size));
    const vectors = this.gather(positives);
    const offsets = await this.#vectors(
      Float32Array.from({ length: queries * (samples + 1) * LATENT }, () => random.normal()),
    );
    const result = new Float32Array(queries * samples * DIMENSION);
    const scale = spread * Math.SQRT1_2;
    for (let i = 0; i < queries * samples; i++) {
      const query = Math.floor(i / samples);
      const own = result.subarray(i * DIMENSION, (i + 1) * DIMENSION);
      for (let k = 0; k < DIMENSION; k++) {
        const shared = offsets[query * DIMENSION + k];
        own[k] = vectors[query * DIMENSION + k] + scale * (shared + offsets[(queries + i) * DIMENSION + k]);
      }
      const length = Math.sqrt(own.reduce((total, x) => total + x * x, 0));
      for (let k = 0; k < DIMENSION; k++) own[k] /= length;
    }
    const relevant = positives.map((row) => new Map([[this.id(row), 1]]));
    return {
      vectors: result,
      relevant: Array.from({ length: queries * samples }, (_, i) => relevant[Math.floor(i / samples)]),
    };
  }

  /** The spread of rollouts at which the mean true reward is `reward`, by bisection. */
  async spreadFor(reward: number, sizes: Omit<RolloutSizes, 'spread'>): Promise<number> {
    let [low, high] = [0, 16];
    for (let round = 0; round < 9; round++) {
      const spread = (low + high) / 2;
      const found = mean(await this.rewards(await this.rollouts(0, { ...sizes, spread })));
      if (found > reward) low = spread;
      else high = spread;
    }
    return (low + high) / 2;
  }

  /** True rewards: 1 / log2(rank + 1) of the one positive. */
  async rewards({ vectors, relevant }: RolloutBatch): Promise<number[]> {
    const count = relevant.length;
    const positives = relevant.map((grades) => this.row(grades.keys().next().value as string));
    const own = this.gather(positives);
    const scores = Float64Array.from({ length: count }, (_, i) => {
      let score = 0;
      for (let k = i * DIMENSION; k < (i + 1) * DIMENSION; k++) score += vectors[k] * own[k];
      return score;
    });
    const before = new Float64Array(count);
    for (let start = 0; start < this.#size; start += BLOCK) {
      const block = this.#block(start);
      const rows = block.length / DIMENSION;
      this.#scan.setAll(block, rows);
      const found = await this.#scan.scores(vectors);
      for (let i = 0; i < count; i++) {
        const at = positives[i] - start;
        for (let row = 0; row < rows; row++) {
          if (row !== at && found[i * rows + row] >= scores[i]) before[i]++;
        }
      }
    }
    return Array.from(before, (ahead) => 1 / Math.log2(ahead + 2));
  }

  async dispose(): Promise<void> {
    for (const session of [this.#drift, this.#drawing, this.#scan]) await session.dispose();
    closeSync(this.#file);
    rmSync(this.#path);
  }

  async #vectors(latent: Float32Array): Promise<Float32Array> {
    const feeds = {
      latent: f32(latent, [latent.length / LATENT, LATENT]),
      directions: f32(this.#directions, [LATENT, DIMENSION]),
    };
    return floats((await this.#drawing.run(feeds)).vectors);
  }

  /** Vectors of rows after the step that leads to `version`. */
  async #moved(x: Float32Array, rows: readonly number[], version: number): Promise<Float32Array> {
    const { linear, waves, push, topics } = this.#matricesOf(version);
    const random = randomStream(this.#seed, 'noise', version, rows[0]);
    const given = new Float32Array(x.length);
    for (const [i, row] of rows.entries()) {
      const own = this.#topicOf(row) * DIMENSION;
      const at = random.integer(NOISE - DIMENSION);
      for (let k = 0; k < DIMENSION; k++) {
        given[i * DIMENSION + k] = topics[own + k] + this.#parts.noise * this.#noise[at + k];
      }
    }
    const shape = [rows.length, DIMENSION];
    const feeds = { x: f32(x, shape), given: f32(given, shape), linear, waves, push };
    return floats((await this.#drift.run(feeds)).moved);
  }

  #topicOf(row: number): number {
    return this.#centreOf[row] % TOPICS;
  }

  /** The matrices of a step. They move a unit vector by the sizes of the parts, on average. */
  #matricesOf(version: number): StepMatrices {
    const known = this.#matrices;
    if (known?.version === version && known.parts === this.#parts) return known;
    const random = randomStream(this.#seed, 'step', version);
    const matrix = (rows: number, columns: number, scale: number) =>
      f32(normalsOf(random, rows * columns, scale), [rows, columns]);
    const smooth = this.#parts.smooth * Math.SQRT1_2;
    const matrices: StepMatrices = {
      version,
      parts: this.#parts,
      linear: matrix(DIMENSION, DIMENSION, this.#parts.linear / Math.sqrt(DIMENSION)),
      // For a unit vector x, the entries of x W have deviation 3: well in the curved part of tanh.
      waves: matrix(DIMENSION, WAVES, 3),
      push: matrix(WAVES, DIMENSION, smooth / Math.sqrt(0.7 * WAVES * DIMENSION)),
      topics: normalsOf(random, TOPICS * DIMENSION, smooth / Math.sqrt(DIMENSION)),
    };
    this.#matrices = matrices;
    return matrices;
  }

  #block(start: number): Float32Array {
    const block = new Float32Array(Math.min(BLOCK, this.#size - start) * DIMENSION);
    readSync(this.#file, new Uint8Array(block.buffer), 0, block.length * 4, start * BYTES);
    return block;
  }

  #write(start: number, block: Float32Array): void {
    writeSync(
      this.#file,
      new Uint8Array(block.buffer, block.byteOffset, block.byteLength),
      0,
      block.byteLength,
      start * BYTES,
    );
  }
}
