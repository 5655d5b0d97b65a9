/**
 * Weights to fewer bits, symmetrically: the largest magnitude of a column (int8) or of a block of a column (4 and 8 bits)
 * becomes the largest step, and every weight is rounded to the nearest one.
 */
import { emit, f32, floats, Graph, quantizeRows, Session, transpose } from 'onnx-grad';

/** Weights quantised at once: a few copies of them are in memory meanwhile. */
const PIECE = 1 << 23;

/** Rows of a weight [outputs, inputs], from the first one on: [count, inputs]. Valid until the next call. */
export type Rows = (first: number, count: number) => Promise<Float32Array>;

/** The rows of a weight in memory. */
export const rowsOf =
  (weight: Float32Array, inputs: number): Rows =>
  async (first, count) =>
    weight.subarray(first * inputs, (first + count) * inputs);

/** The rows of a weight in the pieces in which they are quantised. */
export function* pieces(outputs: number, inputs: number): Generator<{ first: number; count: number }> {
  const most = Math.max(1, Math.floor(PIECE / inputs));
  for (let first = 0; first < outputs; first += most) yield { first, count: Math.min(most, outputs - first) };
}

/** Quantises by output channel with the kernels that quantise activations; in JavaScript it took four times as long. */
export class ColumnQuantizer {
  readonly #session: Session;

  private constructor(session: Session) {
    this.#session = session;
  }

  static async create(): Promise<ColumnQuantizer> {
    const graph = new Graph();
    const { values, magnitudes } = quantizeRows(graph.input('weight', 'float32', ['outputs', 'inputs']));
    graph.output('values', transpose(values, [1, 0]));
    graph.output('magnitudes', magnitudes);
    return new ColumnQuantizer(await Session.create(emit(graph)));
  }

  /** [outputs, inputs] as int8 [inputs, outputs], the layout of integer products, and the value of a step by output. */
  async quantize(
    rows: Rows,
    outputs: number,
    inputs: number,
  ): Promise<{ values: Int8Array; scales: Float32Array }> {
    let values: Uint8Array = new Uint8Array(0);
    const scales = new Float32Array(outputs);
    for (const { first, count } of pieces(outputs, inputs)) {
      const run = await this.#session.run({ weight: f32(await rows(first, count), [count, inputs]) });
      const bytes = run.values?.data;
      if (!(bytes instanceof Uint8Array)) throw new Error('internal: expected bytes');
      if (count === outputs) values = bytes;
      else {
        if (first === 0) values = new Uint8Array(outputs * inputs);
        for (let input = 0; input < inputs; input++) {
          values.set(bytes.subarray(input * count, (input + 1) * count), input * outputs + first);
        }
      }
      for (const [i, magnitude] of floats(run.magnitudes).entries()) scales[first + i] = magnitude / 127;
    }
    return { values: aroundZero(values), scales };
  }

  dispose(): Promise<void> {
    return this.#session.dispose();
  }
}

/** Bytes around 128 as signed ones around 0, in the same memory: the highest bit of each changes. */
function aroundZero(bytes: Uint8Array): Int8Array {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2);
  for (let i = 0; i < words.length; i++) words[i] = (words[i] as number) ^ 0x80808080;
  for (let i = words.length * 4; i < bytes.length; i++) bytes[i] = (bytes[i] as number) ^ 0x80;
  return new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** [outputs, inputs] in blocks along the inputs, as `blockProduct` takes them; a last block is filled with zeros. */
export async function quantizeBlocks(
  rows: Rows,
  outputs: number,
  inputs: number,
  bits: 4 | 8,
  block: number,
): Promise<{ packed: Uint8Array; scales: Float32Array }> {
  const blocks = Math.ceil(inputs / block);
  const bytes = (block * bits) / 8;
  const packed = new Uint8Array(outputs * blocks * bytes);
  const scales = new Float32Array(outputs * blocks);
  const zero = 2 ** (bits - 1);
  const most = zero - 1;
  for (const { first, count } of pieces(outputs, inputs)) {
    const piece = await rows(first, count);
    for (let row = 0; row < count; row++) {
      for (let b = 0; b < blocks; b++) {
        const start = row * inputs + b * block;
        const length = Math.min(block, inputs - b * block);
        const largest = largestMagnitude(piece, start, start + length);
        const at = (first + row) * blocks + b;
        scales[at] = largest / most;
        const inverse = largest === 0 ? 0 : most / largest;
        for (let i = 0; i < block; i++) {
          const step = zero + (i < length ? nearest((piece[start + i] as number) * inverse) : 0);
          if (bits === 8) packed[at * bytes + i] = step;
          else
            packed[at * bytes + (i >> 1)] =
              (packed[at * bytes + (i >> 1)] as number) | (step << (4 * (i & 1)));
        }
      }
    }
  }
  return { packed, scales };
}

/** The largest magnitude of the elements from `start` to `end` (exclusive). */
function largestMagnitude(values: Float32Array, start: number, end: number): number {
  let largest = 0;
  for (let i = start; i < end; i++) {
    const magnitude = Math.abs(values[i] as number);
    if (magnitude > largest) largest = magnitude;
  }
  return largest;
}

/** `Math.round`, but symmetric around zero and without its slow path. */
const nearest = (x: number): number => (x < 0 ? -((0.5 - x) | 0) : (x + 0.5) | 0);
