/** The types of tensors, and the arrays that hold their numbers. */
import type { Shape } from './dims.js';

export type Dtype = 'float32' | 'int64' | 'int32' | 'bool';

export interface TensorType {
  readonly dtype: Dtype;
  readonly shape: Shape;
}

/** What holds the numbers of a dtype. */
export const ARRAY_TYPE = {
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;
