/** Key/value caches of many sequences: one array per layer, [slots, kvHeads, capacity, headDim]; rows are views. */
import { f32, type HostTensor } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { pastName, presentName } from './program.js';

export class KeyValueCache {
  readonly slots: number;
  readonly capacity: number;
  readonly #config: ModelConfig;
  readonly #layers: { keys: Float32Array; values: Float32Array }[];

  constructor(config: ModelConfig, slots: number, capacity: number) {
    this.#config = config;
    this.slots = slots;
    this.capacity = capacity;
    const size = slots * config.kvHeads * capacity * config.headDim;
    this.#layers = Array.from({ length: config.layers }, () => ({
      keys: new Float32Array(size),
      values: new Float32Array(size),
    }));
  }

  /** Views of `count` slots from `first` on, as feeds and as the outputs that share their memory. */
  view(
    first: number,
    count: number,
  ): { feeds: Record<string, HostTensor>; outputs: Record<string, HostTensor> } {
    const { kvHeads, headDim } = this.#config;
    const row = kvHeads * this.capacity * headDim;
    const shape = [count, kvHeads, this.capacity, headDim];
    const feeds: Record<string, HostTensor> = {};
    const outputs: Record<string, HostTensor> = {};
    for (const [layer, arrays] of this.#layers.entries()) {
      for (const kind of ['keys', 'values'] as const) {
        const tensor = f32(arrays[kind].subarray(first * row, (first + count) * row), shape);
        feeds[pastName(kind, layer)] = tensor;
        outputs[presentName(kind, layer)] = tensor;
      }
    }
    return { feeds, outputs };
  }

  /** Copies the first `length` positions of one slot to another. */
  copy(from: number, to: number, length: number): void {
    if (from === to) return;
    const { kvHeads, headDim } = this.#config;
    const head = this.capacity * headDim;
    for (const arrays of this.#layers) {
      for (let h = 0; h < kvHeads; h++) {
        const source = (from * kvHeads + h) * head;
        const target = (to * kvHeads + h) * head;
        arrays.keys.copyWithin(target, source, source + length * headDim);
        arrays.values.copyWithin(target, source, source + length * headDim);
      }
    }
  }

  /** Writes back what a run without shared memory returned for the slots from `first` on. */
  store(first: number, results: Record<string, HostTensor>): void {
    const row = this.#config.kvHeads * this.capacity * this.#config.headDim;
    for (const [layer, arrays] of this.#layers.entries()) {
      for (const kind of ['keys', 'values'] as const) {
        const present = results[presentName(kind, layer)];
        if (present?.data instanceof Float32Array) arrays[kind].set(present.data, first * row);
      }
    }
  }
}
