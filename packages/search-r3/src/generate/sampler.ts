/**
 * Sampling for many rows with settings of their own: softmax, sums, maxima and the most probable tokens are computed by
 * small programs over the scores that the decoder left in memory, and only a few hundred numbers of a row are read in
 * JavaScript (docs/decisions/014-sampling.md). A program runs over the rows that need it.
 */
import {
  argMax,
  concat,
  emit,
  type Feeds,
  f32,
  floats,
  Graph,
  mul,
  type Program,
  reshape,
  Session,
  softmax,
  sum,
  topK,
  zeros,
} from 'onnx-grad';
import type { RandomStream } from '../run/index.js';
import {
  BLOCK,
  type Draw,
  drawTruncated,
  drawWhole,
  type Kind,
  kindOf,
  type ResolvedSampling,
} from './sampling.js';

/** A token to be chosen from a row of scores. A row may be chosen from several times. */
export interface Choice {
  row: number;
  sampling: ResolvedSampling;
  random: RandomStream;
}

/** Most probable tokens that are sorted at first, and in a second try where truncation leaves more than them. */
const LISTS = [256, 4096];

/**
 * Feeds: `scores` [rows, vocabulary], `inverse_temperature` [rows, 1]. Outputs: `probabilities` [rows, vocabulary]; for
 * `greedy` also `best` [rows], for `whole` also `sums` [rows, blocks].
 */
export function distributionProgram(vocabulary: number, kind: 'greedy' | 'whole'): Program {
  const graph = new Graph();
  const { scores, probabilities } = distribution(graph, vocabulary);
  graph.output('probabilities', probabilities);
  switch (kind) {
    case 'greedy':
      graph.output('best', argMax(scores));
      break;
    case 'whole': {
      const blocks = Math.ceil(vocabulary / BLOCK);
      const missing = blocks * BLOCK - vocabulary;
      const padded =
        missing === 0 ? probabilities : concat([probabilities, zeros(graph, ['rows', missing])], 1);
      graph.output('sums', sum(reshape(padded, ['rows', blocks, BLOCK]), [2]));
      break;
    }
    default:
      kind satisfies never;
  }
  return emit(graph, { inPlace: true });
}

/** The same feeds. Outputs: `values` and `ids` [rows, count], the most probable tokens in descending order. */
function listProgram(vocabulary: number, count: number): Program {
  const graph = new Graph();
  const { values, indices } = topK(distribution(graph, vocabulary).probabilities, count);
  graph.output('values', values);
  graph.output('ids', indices);
  return emit(graph);
}

function distribution(graph: Graph, vocabulary: number) {
  const scores = graph.input('scores', 'float32', ['rows', vocabulary]);
  const inverseTemperature = graph.input('inverse_temperature', 'float32', ['rows', 1]);
  return { scores, probabilities: softmax(mul(scores, inverseTemperature)) };
}

export class Sampler {
  readonly #vocabulary: number;
  readonly #threads: number | undefined;
  readonly #sessions = new Map<string, Promise<Session>>();
  #probabilities = new Float32Array(0);

  constructor(vocabulary: number, options: { threads?: number } = {}) {
    this.#vocabulary = vocabulary;
    this.#threads = options.threads;
  }

  /** A token for each choice from `scores` [rows, vocabulary]. Draws from one stream follow the order of the choices. */
  async choose(scores: Float32Array, choices: readonly Choice[]): Promise<Draw[]> {
    const draws: Draw[] = [];
    for (const kind of ['greedy', 'whole', 'truncated'] as const) {
      const places = [...choices.keys()].filter((i) => kindOf((choices[i] as Choice).sampling) === kind);
      if (places.length === 0) continue;
      const found = await this.#chooseKind(
        kind,
        scores,
        places.map((i) => choices[i] as Choice),
      );
      for (const [at, i] of places.entries()) draws[i] = found[at] as Draw;
    }
    return draws;
  }

  /** Gives memory back until the next call. */
  release(): void {
    this.#probabilities = new Float32Array(0);
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).dispose();
    this.#sessions.clear();
  }

  async #chooseKind(kind: Kind, scores: Float32Array, choices: readonly Choice[]): Promise<Draw[]> {
    // The scheduler has rows of a kind side by side; others between them would only cost time.
    const rows = choices.map(({ row }) => row);
    const first = Math.min(...rows);
    const count = Math.max(...rows) - first + 1;
    const feeds = this.#feeds(scores, first, count, choices);
    switch (kind) {
      case 'greedy': {
        const { best } = await this.#distribution(kind, feeds, count);
        return choices.map(({ row }) => {
          const token = Number(best?.data[row - first]);
          return { token, logProbability: Math.log(this.#row(row - first)[token] as number) };
        });
      }
      case 'whole': {
        const sums = floats((await this.#distribution(kind, feeds, count)).sums);
        const blocks = sums.length / count;
        return choices.map(({ row, random }) => {
          const at = row - first;
          return drawWhole(this.#row(at), sums.subarray(at * blocks, (at + 1) * blocks), random.uniform());
        });
      }
      case 'truncated': {
        const list = await this.#list(LISTS[0] as number, feeds);
        const draws: Draw[] = [];
        for (const choice of choices)
          draws.push(await this.#truncated(scores, choice, list(choice.row - first)));
        return draws;
      }
      default:
        return kind satisfies never;
    }
  }

  /** Draws from a row's list of most probable tokens, and from longer ones as long as it is too short. */
  async #truncated(scores: Float32Array, choice: Choice, list: List): Promise<Draw> {
    const { row, sampling, random } = choice;
    const uniform = random.uniform();
    let { values, ids } = list;
    for (const count of [...LISTS.slice(1), this.#vocabulary]) {
      const draw = drawTruncated(values, ids, this.#vocabulary, sampling, uniform);
      if (draw !== undefined) return draw;
      ({ values, ids } = (await this.#list(count, this.#feeds(scores, row, 1, [choice])))(0));
    }
    return drawTruncated(values, ids, this.#vocabulary, sampling, uniform) as Draw;
  }

  #feeds(scores: Float32Array, first: number, count: number, choices: readonly Choice[]): Feeds {
    const inverse = new Float32Array(count).fill(1);
    for (const { row, sampling } of choices) {
      if (sampling.temperature !== 0) inverse[row - first] = 1 / sampling.temperature;
    }
    const vocabulary = this.#vocabulary;
    return {
      scores: f32(scores.subarray(first * vocabulary, (first + count) * vocabulary), [count, vocabulary]),
      inverse_temperature: f32(inverse, [count, 1]),
    };
  }

  async #distribution(kind: 'greedy' | 'whole', feeds: Feeds, count: number) {
    const size = count * this.#vocabulary;
    if (this.#probabilities.length < size) this.#probabilities = new Float32Array(size);
    const probabilities = f32(this.#probabilities.subarray(0, size), [count, this.#vocabulary]);
    const session = await this.#session(kind, () => distributionProgram(this.#vocabulary, kind));
    return session.runInPlace(feeds, { probabilities });
  }

  async #list(count: number, feeds: Feeds): Promise<(row: number) => List> {
    const size = Math.min(count, this.#vocabulary);
    const session = await this.#session(`list ${size}`, () => listProgram(this.#vocabulary, size));
    const results = await session.run(feeds);
    const values = floats(results.values);
    const ids = results.ids?.data as BigInt64Array;
    return (row) => ({
      values: values.subarray(row * size, (row + 1) * size),
      ids: ids.subarray(row * size, (row + 1) * size),
    });
  }

  #session(name: string, program: () => Program): Promise<Session> {
    let session = this.#sessions.get(name);
    if (session === undefined) {
      session = Session.create(program(), this.#threads === undefined ? {} : { threads: this.#threads });
      this.#sessions.set(name, session);
    }
    return session;
  }

  #row(row: number): Float32Array {
    return this.#probabilities.subarray(row * this.#vocabulary, (row + 1) * this.#vocabulary);
  }
}

interface List {
  values: Float32Array;
  ids: BigInt64Array;
}
