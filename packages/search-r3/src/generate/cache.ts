/**
 * Key/value caches of many sequences: one array per layer, [slots, kvHeads, capacity, headDim], of which runs of slots
 * are views. The same memory is arranged anew for more slots or for longer ones.
 */
import { f32, type HostTensor } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { pastName, presentName } from './program.js';

/** Capacities are multiples of this, so that prompts of about one length need one arrangement. */
const STRIDE = 32;

/** Positions that a slot takes for `length` tokens. */
export const slotSize = (length: number): number => Math.ceil(length / STRIDE) * STRIDE;

/** Bytes of one position of one sequence. */
export const positionBytes = ({ layers, kvHeads, headDim }: ModelConfig): number =>
  2 * layers * kvHeads * headDim * Float32Array.BYTES_PER_ELEMENT;

type Layer = Record<'keys' | 'values', Float32Array>;

/** Caches of all layers as feeds, and as the outputs that share their memory. */
export interface CacheViews {
  feeds: Record<string, HostTensor>;
  outputs: Record<string, HostTensor>;
}

export class KeyValueCache {
  readonly #config: ModelConfig;
  /** Positions of all slots that may be allocated in advance. */
  readonly #most: number;
  #layers: Layer[];
  #positions = 0;
  #capacity = 0;

  /** `bytes`: how much may be allocated in advance of need. */
  constructor(config: ModelConfig, bytes: number) {
    this.#config = config;
    this.#most = Math.floor(bytes / positionBytes(config));
    this.#layers = Array.from({ length: config.layers }, () => empty());
  }

  /** Tokens of a slot at most. */
  get capacity(): number {
    return this.#capacity;
  }

  get slots(): number {
    return this.#capacity === 0 ? 0 : Math.floor(this.#positions / this.#capacity);
  }

  /** Makes room for `slots` sequences of `length` tokens. The first slots keep their first `kept` tokens. */
  reserve(slots: number, length: number, kept: readonly number[]): void {
    if (length <= this.#capacity && slots <= this.slots) return;
    const capacity = slotSize(length);
    const needed = slots * capacity;
    const positions =
      needed <= this.#positions
        ? this.#positions
        : Math.max(needed, Math.min(2 * this.#positions, this.#most));
    const { kvHeads, headDim } = this.#config;
    for (const layer of this.#layers) {
      for (const kind of ['keys', 'values'] as const) {
        const old = layer[kind];
        const array = positions === this.#positions ? old : new Float32Array(positions * kvHeads * headDim);
        this.#move(old, array, capacity, kept);
        layer[kind] = array;
      }
    }
    this.#positions = positions;
    this.#capacity = capacity;
  }

  /** Gives the memory back. */
  release(): void {
    this.#layers = this.#layers.map(empty);
    this.#positions = 0;
    this.#capacity = 0;
  }

  /** Views of `count` slots from `first` on. */
  view(first: number, count: number): CacheViews {
    const { kvHeads, headDim } = this.#config;
    const row = kvHeads * this.#capacity * headDim;
    const part = (array: Float32Array) => array.subarray(first * row, (first + count) * row);
    return viewsOf(
      this.#layers.map(({ keys, values }) => ({ keys: part(keys), values: part(values) })),
      [count, kvHeads, this.#capacity, headDim],
    );
  }

  /** Copies the first `length` positions of one slot to another. */
  copy(from: number, to: number, length: number): void {
    if (from === to) return;
    const { kvHeads, headDim } = this.#config;
    const head = this.#capacity * headDim;
    for (const arrays of this.#layers) {
      for (let h = 0; h < kvHeads; h++) {
        const source = (from * kvHeads + h) * head;
        const target = (to * kvHeads + h) * head;
        arrays.keys.copyWithin(target, source, source + length * headDim);
        arrays.values.copyWithin(target, source, source + length * headDim);
      }
    }
  }

  /** Moves what the first slots hold to where it lies at another capacity, maybe in the same array. */
  #move(from: Float32Array, to: Float32Array, capacity: number, kept: readonly number[]): void {
    const { kvHeads, headDim } = this.#config;
    const heads = kept.flatMap((length, slot) =>
      Array.from({ length: kvHeads }, (_, h) => ({ length, at: slot * kvHeads + h })),
    );
    // In one array, heads move away from those that have not moved yet.
    if (capacity > this.#capacity) heads.reverse();
    for (const { length, at } of heads) {
      const source = at * this.#capacity * headDim;
      const target = at * capacity * headDim;
      if (from === to) to.copyWithin(target, source, source + length * headDim);
      else to.set(from.subarray(source, source + length * headDim), target);
    }
  }
}

/**
 * Views of memory for `count` prompts of at most `length` tokens that nothing follows: all layers have the same, because
 * the keys and values of a layer are not needed after it.
 */
export function passingViews(
  { layers, kvHeads, headDim }: ModelConfig,
  count: number,
  length: number,
): CacheViews {
  const size = count * kvHeads * length * headDim;
  const shared = { keys: new Float32Array(size), values: new Float32Array(size) };
  return viewsOf(Array<Layer>(layers).fill(shared), [count, kvHeads, length, headDim]);
}

function viewsOf(layers: readonly Layer[], shape: readonly number[]): CacheViews {
  const feeds: Record<string, HostTensor> = {};
  const outputs: Record<string, HostTensor> = {};
  for (const [layer, arrays] of layers.entries()) {
    for (const kind of ['keys', 'values'] as const) {
      const tensor = f32(arrays[kind], shape);
      feeds[pastName(kind, layer)] = tensor;
      outputs[presentName(kind, layer)] = tensor;
    }
  }
  return { feeds, outputs };
}

const empty = (): Layer => ({ keys: new Float32Array(0), values: new Float32Array(0) });
