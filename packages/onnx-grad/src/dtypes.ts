/** Tensor types, and the typed arrays that hold their elements. */
import type { Shape } from './dims.js';

/** `bfloat16` exists in files and inside programs only: the binding cannot feed it. Both halves are held as bits. */
export type Dtype = 'float32' | 'float16' | 'bfloat16' | 'int64' | 'int32' | 'int8' | 'uint8' | 'bool';

export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/** The typed array for each dtype. */
export const ARRAY_TYPE = {
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
} as const;

export type TensorData = Float32Array | Uint16Array | BigInt64Array | Int32Array | Int8Array | Uint8Array;
