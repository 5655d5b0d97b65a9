/** Tensor types, and the typed arrays that hold their elements. */
import type { Shape } from './dims.js';

export type Dtype = 'float32' | 'int64' | 'int32' | 'bool';

export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/** The typed array for each dtype. */
export const ARRAY_TYPE = {
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;
