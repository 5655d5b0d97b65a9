/**
 * Runs single layers on a few fixed texts, in float32 and with quantised weights: the float32 run tells which channels
 * have outliers, and the distance between the two tells what quantisation costs. Only one layer is in memory at a time.
 */
import { emit, type Feeds, floats, Graph, type HostTensor, Session, swiglu } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { decoderLayers } from './decoder.js';
import { declared } from './lookup.js';
import { weightsOf } from './precision.js';
import { BLOCK_BITS, type Precision } from './precision-names.js';
import { attendPrompts, lengthFeeds } from './prompt-attention.js';
import { ropeTables } from './rope.js';
import { ropeInputs } from './sequence.js';
import type { DecoderWeights } from './weights.js';

/** Tokens of several texts, padded on the right, as rows of hidden states. */
export interface Batch {
  /** [texts * length, hidden]. */
  rows: Float32Array;
  /** Tokens of each text. */
  lengths: readonly number[];
  /** Columns, the longest text. */
  length: number;
}

/** What the linear layers of a layer read, [rows, width] each. */
export interface LinearInputs {
  attention: Float32Array;
  gates: Float32Array;
  down: Float32Array;
}

/** A layer's tensors by the names they have in layer 0. */
export type LayerTensors = ReadonlyMap<string, HostTensor>;

/**
 * Products with blocks quantise the activations only if the weights are constants (ONNX Runtime 1.30): with others they
 * would be closer to float32 than those of the model in use.
 */
const needsConstants = (precision: Precision): boolean => Object.hasOwn(BLOCK_BITS, precision);

/** Runs any layer of a model, given its tensors, or one layer where they are constants. */
class LayerRunner {
  readonly #config: ModelConfig;
  readonly #session: Session;

  private constructor(config: ModelConfig, session: Session) {
    this.#config = config;
    this.#session = session;
  }

  /** @param tensors those of one layer: all layers have the same names, dtypes and shapes. */
  static async create(
    config: ModelConfig,
    precision: Precision,
    tensors: LayerTensors,
    threads: number | undefined,
  ): Promise<LayerRunner> {
    const graph = new Graph();
    const lookup = declared(tensors, (name, tensor) =>
      needsConstants(precision) ? graph.constant(tensor) : graph.input(name, tensor.dtype, tensor.shape),
    );
    const weights = weightsOf(precision, config, lookup, (name) => tensors.has(name));
    const seen = precision === 'f32' ? observed(graph, weights) : weights;
    const x = graph.input('x', 'float32', ['batch*length', config.hiddenSize]);
    const ids = graph.input('ids', 'int64', ['batch', 'length']);
    const attend = attendPrompts(config, ids, ropeInputs(graph, config));
    const shape = ['batch', 'length'] as const;
    const residual = decoderLayers({ config, weights: seen, attend, x, shape, layers: [0] });
    graph.output('y', residual.x);
    const session = await Session.create(emit(graph), threads === undefined ? {} : { threads });
    return new LayerRunner(config, session);
  }

  /** The rows after the layer and, in float32, what its linear layers read. */
  async run(tensors: LayerTensors, batch: Batch): Promise<{ rows: Float32Array; inputs?: LinearInputs }> {
    const { lengths, length, rows } = batch;
    const { hiddenSize } = this.#config;
    const count = lengths.length;
    const feeds: Feeds = {
      ...Object.fromEntries(tensors),
      x: { dtype: 'float32', shape: [count * length, hiddenSize], data: rows },
      // Attention reads only their shape.
      ids: { dtype: 'int64', shape: [count, length], data: new BigInt64Array(count * length) },
      ...lengthFeeds(lengths, length),
      ...ropeTables(this.#config, length),
    };
    const { program } = this.#session;
    const used: Feeds = Object.fromEntries(
      Object.entries(feeds).filter(([name]) => program.inputs.has(name)),
    );
    const results = await this.#session.run(used);
    const y = floats(results.y);
    if (results.attention === undefined) return { rows: y };
    const inputs = {
      attention: floats(results.attention),
      gates: floats(results.gates),
      down: floats(results.down),
    };
    return { rows: y, inputs };
  }

  async dispose(): Promise<void> {
    await this.#session.dispose();
  }
}

/** A batch on its way through the layers of a model, one at a time. */
export class Passage {
  readonly #config: ModelConfig;
  readonly #precision: Precision;
  readonly #threads: number | undefined;
  #runner: LayerRunner | undefined;
  #batch: Batch;

  constructor(config: ModelConfig, precision: Precision, batch: Batch, threads: number | undefined) {
    this.#config = config;
    this.#precision = precision;
    this.#batch = batch;
    this.#threads = threads;
  }

  get batch(): Batch {
    return this.#batch;
  }

  /** Goes through the next layer. Returns what its linear layers read, in float32. */
  async through(tensors: LayerTensors): Promise<LinearInputs | undefined> {
    this.#runner ??= await LayerRunner.create(this.#config, this.#precision, tensors, this.#threads);
    const { rows, inputs } = await this.#runner.run(tensors, this.#batch);
    if (needsConstants(this.#precision)) await this.dispose();
    this.#batch = { ...this.#batch, rows };
    return inputs;
  }

  async dispose(): Promise<void> {
    await this.#runner?.dispose();
    this.#runner = undefined;
  }
}

/** Weights that also output what they read. */
function observed(graph: Graph, weights: DecoderWeights): DecoderWeights {
  return {
    ...weights,
    attention(x, layer) {
      graph.output('attention', x);
      return weights.attention(x, layer);
    },
    gates(x, layer) {
      graph.output('gates', x);
      return weights.gates(x, layer);
    },
    down(gates, layer) {
      graph.output('down', swiglu(gates[0], gates[1]));
      return weights.down(gates, layer);
    },
  };
}

/** The elements of real tokens of rows that go with a batch. */
export function realRows(rows: Float32Array, { lengths, length }: Batch): Float32Array {
  const width = rows.length / (lengths.length * length);
  const kept = new Float32Array(width * lengths.reduce((sum, n) => sum + n, 0));
  let at = 0;
  for (const [text, tokens] of lengths.entries()) {
    const start = text * length * width;
    kept.set(rows.subarray(start, start + tokens * width), at);
    at += tokens * width;
  }
  return kept;
}

/** How near the rows of one matrix are to those of another. */
export interface Closeness {
  /** Mean cosine. */
  mean: number;
  /** Least cosine. */
  least: number;
}

/** Cosines between the rows of two matrices [rows, width]. */
export function closenessOf(a: Float32Array, b: Float32Array, width: number): Closeness {
  let [sum, least] = [0, 1];
  for (let at = 0; at < a.length; at += width) {
    let [ab, aa, bb] = [0, 0, 0];
    for (let j = at; j < at + width; j++) {
      const [x, y] = [a[j] as number, b[j] as number];
      ab += x * y;
      aa += x * x;
      bb += y * y;
    }
    const cosine = ab / Math.sqrt(aa * bb);
    sum += cosine;
    // Not Math.min: NaN must not pass for closeness.
    if (!(cosine >= least)) least = cosine;
  }
  return { mean: (sum * width) / a.length, least };
}

/** Rows normalised by an RMS norm, float64. */
export function rmsNormRows(rows: Float32Array, weight: Float32Array, epsilon: number): Float32Array {
  const width = weight.length;
  const normed = new Float32Array(rows.length);
  for (let at = 0; at < rows.length; at += width) {
    let squares = 0;
    for (let j = at; j < at + width; j++) squares += (rows[j] as number) ** 2;
    const factor = 1 / Math.sqrt(squares / width + epsilon);
    for (let j = 0; j < width; j++)
      normed[at + j] = (rows[at + j] as number) * factor * (weight[j] as number);
  }
  return normed;
}
