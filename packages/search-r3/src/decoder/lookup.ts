/** Tensors by name. */
import type { Value } from 'onnx-grad';
import type { Lookup } from './weights.js';

/** @throws Error for a missing name: models are validated when they are loaded. */
export function tensorOf<T>(tensors: ReadonlyMap<string, T>, name: string): T {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new Error(`internal: the decoder has no tensor ${name}`);
  return tensor;
}

/** Declares a tensor in a graph when it is first asked for. */
export function declared<T>(
  tensors: ReadonlyMap<string, T>,
  declare: (name: string, tensor: T) => Value,
): Lookup {
  const values = new Map<string, Value>();
  return (name) => {
    const value = values.get(name) ?? declare(name, tensorOf(tensors, name));
    values.set(name, value);
    return value;
  };
}
