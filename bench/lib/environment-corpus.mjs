/**
 * A synthetic corpus of any size whose vectors drift as those of a recording do. Unit vectors of dimension 256 lie around
 * 1,000 centres of 100 topics in 64 latent dimensions; every step adds a linear part, a smooth nonlinear one and noise, and brings them
 * back to length 1. The truth lies in a file, so that what the environment needs of memory can be told from it.
 */
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { add, div, emit, f32, floats, Graph, gemm, mul, Session, sqrt, sum, tanh } from 'onnx-grad';
import { randomStream } from 'search-r3/run';
import { ExactIndex } from 'search-r3/vectors';
import { measureDrift, PAIRS } from './environment-calibration.mjs';
import { mean } from './replay.mjs';

export const DIMENSION = 256;
const LATENT = 64;
const CENTRES = 1000;
const TOPICS = 100;
/** Waves of the nonlinear part: directions whose tanh pushes; each topic is pushed by as much besides. */
const WAVES = 128;
const BLOCK = 16_384;
const BYTES = 4 * DIMENSION;
/** Numbers that the noise of a vector is cut from, at a random place. */
const NOISE = 1 << 20;
/** Of calibration. */
const ROUNDS = 3;

const unitRows = (x) => div(x, sqrt(sum(mul(x, x), [1], true)));

/** Latent vectors through the directions. */
function drawProgram() {
  const graph = new Graph();
  const latent = graph.input('latent', 'float32', ['rows', LATENT]);
  const directions = graph.input('directions', 'float32', [LATENT, DIMENSION]);
  graph.output('vectors', unitRows(gemm(latent, directions)));
  return emit(graph);
}

/** unit(x + x L + tanh(x W) P + what is given: pushes of topics, and noise). */
function driftProgram() {
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
  /** @param path of the file that the true vectors are kept in; removed by `dispose`. */
  static async create(path, size, seed) {
    const corpus = new SyntheticCorpus();
    Object.assign(corpus, { path, size, seed, file: openSync(path, 'w+') });
    ftruncateSync(corpus.file, size * BYTES);
    corpus.drift = await Session.create(driftProgram());
    corpus.scan = await ExactIndex.create(DIMENSION, { capacity: BLOCK });
    corpus.drawing = await Session.create(drawProgram());
    const random = randomStream(seed, 'world');
    const normals = (count, scale = 1) => Float32Array.from({ length: count }, () => scale * random.normal());
    const topics = normals(TOPICS * LATENT);
    corpus.centres = Float32Array.from(
      { length: CENTRES * LATENT },
      (_, i) => topics[i % topics.length] + 0.7 * random.normal(),
    );
    corpus.directions = normals(LATENT * DIMENSION);
    corpus.noise = normals(NOISE, 1 / Math.sqrt(DIMENSION));
    corpus.centreOf = Uint16Array.from({ length: size }, () => random.integer(CENTRES));
    for (let start = 0; start < size; start += BLOCK) {
      const end = Math.min(start + BLOCK, size);
      const latent = new Float32Array((end - start) * LATENT);
      for (let row = start; row < end; row++) {
        for (let i = 0; i < LATENT; i++) {
          const centre = corpus.centres[corpus.centreOf[row] * LATENT + i];
          latent[(row - start) * LATENT + i] = centre + 0.7 * random.normal();
        }
      }
      corpus.#write(start, await corpus.#vectors(latent));
    }
    return corpus;
  }

  id = (row) => `d${row}`;

  row = (id) => Number(id.slice(1));

  /** Two words of the topic, two others. */
  text = (id) => {
    const row = this.row(id);
    const topic = this.#topicOf(row);
    return `topic${topic} about${topic} word${row % 7} thing${row % 89}`;
  };

  /** True vectors of rows as they are now. */
  gather(rows) {
    const result = new Float32Array(rows.length * DIMENSION);
    const bytes = new Uint8Array(result.buffer);
    for (let at = 0; at < rows.length; ) {
      let end = at + 1;
      while (end < rows.length && rows[end] === rows[end - 1] + 1) end++;
      // One system call takes at most 2 GiB.
      end = Math.min(end, at + BLOCK);
      readSync(this.file, bytes, at * BYTES, (end - at) * BYTES, rows[at] * BYTES);
      at = end;
    }
    return result;
  }

  /**
   * Finds sizes of the parts such that the drift of the first step is measured as `target` ({ square, map, both }), and
   * gives what is measured with them.
   */
  async calibrate(target) {
    const rows = Array.from({ length: PAIRS }, (_, i) => Math.floor((i * this.size) / PAIRS));
    const old = this.gather(rows);
    const texts = rows.map((row) => this.text(this.id(row)));
    // Shares of the square of the movement; of the smooth part map and kernel find some.
    const smooth = Math.max(0, target.both - target.map);
    const parts = { linear: target.both - smooth, smooth, noise: 1 - target.both };
    const within = (x, most) => Math.min(most, Math.max(0, x));
    let scale = 1;
    let measured;
    for (let round = 0; round < ROUNDS; round++) {
      this.parts = Object.fromEntries(
        Object.entries(parts).map(([name, share]) => [name, Math.sqrt(scale * target.square * share)]),
      );
      measured = await measureDrift(old, await this.#moved(old, rows, 0), DIMENSION, texts);
      scale *= target.square / measured.square;
      parts.noise = within(parts.noise + measured.both - target.both, 1);
      parts.smooth = within(
        parts.smooth + target.both - target.map - (measured.both - measured.map),
        1 - parts.noise,
      );
      parts.linear = 1 - parts.noise - parts.smooth;
    }
    return { measured, shares: parts };
  }

  /** Moves everything by the step that leads to `version`. */
  async advance(version) {
    for (let start = 0; start < this.size; start += BLOCK) {
      const x = this.#block(start);
      const rows = Array.from({ length: x.length / DIMENSION }, (_, i) => start + i);
      this.#write(start, await this.#moved(x, rows, version));
    }
  }

  /**
   * Groups of rollouts around documents, as many and as far from them as `spread` says: shared by a group for one half,
   * their own for the other.
   */
  async rollouts(version, { queries, samples, spread }) {
    const random = randomStream(this.seed, 'rollouts', version);
    const positives = Array.from({ length: queries }, () => random.integer(this.size));
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
  async spreadFor(reward, sizes) {
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
  async rewards({ vectors, relevant }) {
    const count = relevant.length;
    const positives = relevant.map((grades) => this.row(grades.keys().next().value));
    const own = this.gather(positives);
    const scores = Float64Array.from({ length: count }, (_, i) => {
      let score = 0;
      for (let k = i * DIMENSION; k < (i + 1) * DIMENSION; k++) score += vectors[k] * own[k];
      return score;
    });
    const before = new Float64Array(count);
    for (let start = 0; start < this.size; start += BLOCK) {
      const block = this.#block(start);
      const rows = block.length / DIMENSION;
      this.scan.setAll(block, rows);
      const found = await this.scan.scores(vectors);
      for (let i = 0; i < count; i++) {
        const at = positives[i] - start;
        for (let row = 0; row < rows; row++) {
          if (row !== at && found[i * rows + row] >= scores[i]) before[i]++;
        }
      }
    }
    return Array.from(before, (ahead) => 1 / Math.log2(ahead + 2));
  }

  async dispose() {
    for (const session of [this.drift, this.drawing, this.scan]) await session.dispose();
    closeSync(this.file);
    rmSync(this.path);
  }

  async #vectors(latent) {
    const feeds = {
      latent: f32(latent, [latent.length / LATENT, LATENT]),
      directions: f32(this.directions, [LATENT, DIMENSION]),
    };
    return floats((await this.drawing.run(feeds)).vectors);
  }

  /** Vectors of rows after the step that leads to `version`. */
  async #moved(x, rows, version) {
    const { linear, waves, push, topics } = this.#step(version);
    const random = randomStream(this.seed, 'noise', version, rows[0]);
    const given = new Float32Array(x.length);
    for (const [i, row] of rows.entries()) {
      const own = this.#topicOf(row) * DIMENSION;
      const at = random.integer(NOISE - DIMENSION);
      for (let k = 0; k < DIMENSION; k++) {
        given[i * DIMENSION + k] = topics[own + k] + this.parts.noise * this.noise[at + k];
      }
    }
    const shape = [rows.length, DIMENSION];
    const feeds = { x: f32(x, shape), given: f32(given, shape), linear, waves, push };
    return floats((await this.drift.run(feeds)).moved);
  }

  #topicOf(row) {
    return this.centreOf[row] % TOPICS;
  }

  /** The matrices of a step, their sizes those of `parts`: a unit vector is moved by as much, on average. */
  #step(version) {
    if (this.step?.version === version && this.step.parts === this.parts) return this.step;
    const random = randomStream(this.seed, 'step', version);
    const normals = (count, scale) => Float32Array.from({ length: count }, () => scale * random.normal());
    const matrix = (rows, columns, scale) => f32(normals(rows * columns, scale), [rows, columns]);
    const smooth = this.parts.smooth * Math.SQRT1_2;
    this.step = {
      version,
      parts: this.parts,
      linear: matrix(DIMENSION, DIMENSION, this.parts.linear / Math.sqrt(DIMENSION)),
      // Of unit vectors x, x W has entries of deviation 3: well in the curved part of tanh.
      waves: matrix(DIMENSION, WAVES, 3),
      push: matrix(WAVES, DIMENSION, smooth / Math.sqrt(0.7 * WAVES * DIMENSION)),
      topics: normals(TOPICS * DIMENSION, smooth / Math.sqrt(DIMENSION)),
    };
    return this.step;
  }

  #block(start) {
    const block = new Float32Array(Math.min(BLOCK, this.size - start) * DIMENSION);
    readSync(this.file, new Uint8Array(block.buffer), 0, block.length * 4, start * BYTES);
    return block;
  }

  #write(start, block) {
    writeSync(
      this.file,
      new Uint8Array(block.buffer, block.byteOffset, block.byteLength),
      0,
      block.byteLength,
      start * BYTES,
    );
  }
}
