/**
 * An adapter on quantised weights. Smoothing has moved the size of channels into the large matrices (`smoothing.ts`), so the
 * small ones follow: an adapter stays what it is on the weights as they were.
 */
import { concat, split, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { factorsNames, linearNames } from './stored-names.js';
import type { Lookup, Overlay, Smoothed } from './weights.js';

/** An adapter, or none, by the linear layers of a decoder layer. */
export interface QuantizedOverlay {
  /** Whether one of the linear layers has an adapter. */
  adapts(...names: readonly string[]): boolean;
  /** y [rows, outputs] and the adapter's part of the linear layer `name`, which reads x [rows, inputs]. */
  add(y: Value, x: Value, name: string, layer: number): Value;
  /** q, k and v from one product with all side by side, each with the adapter's part. */
  addApart(qkv: Value, x: Value, layer: number): readonly [q: Value, k: Value, v: Value];
  /** The same, side by side again. */
  addTogether(qkv: Value, x: Value, layer: number): Value;
}

/** @param lookup gives the tensors of a quantised file, among them the factors of its smoothing. */
export function quantizedOverlay(
  config: ModelConfig,
  lookup: Lookup,
  overlay: Overlay | undefined,
): QuantizedOverlay {
  const smoothed = (name: string, layer: number): Smoothed => {
    const { q, k, v, gate, up, down } = linearNames(layer);
    const factors = factorsNames(layer);
    switch (name) {
      case q:
      case k:
      case v:
        return { inputs: lookup(factors.attention) };
      case gate:
        return { inputs: lookup(factors.gates) };
      case up:
        return { inputs: lookup(factors.gates), outputs: lookup(factors.down) };
      case down:
        return { inputs: lookup(factors.down) };
      default:
        return {};
    }
  };
  const adapts = (...names: readonly string[]) =>
    overlay !== undefined && names.some((name) => overlay.has(name));
  const add = (y: Value, x: Value, name: string, layer: number) =>
    overlay?.has(name) ? overlay.add(y, x, name, smoothed(name, layer)) : y;
  const sizes = [config.heads, config.kvHeads, config.kvHeads].map((count) => count * config.headDim);
  const addApart = (qkv: Value, x: Value, layer: number) => {
    const [q, k, v] = split(qkv, 1, sizes);
    if (q === undefined || k === undefined || v === undefined) throw new Error('internal: expected three');
    const names = linearNames(layer);
    return [add(q, x, names.q, layer), add(k, x, names.k, layer), add(v, x, names.v, layer)] as const;
  };
  return {
    adapts,
    add,
    addApart,
    addTogether(qkv, x, layer) {
      const { q, k, v } = linearNames(layer);
      return adapts(q, k, v) ? concat(addApart(qkv, x, layer), 1) : qkv;
    },
  };
}
