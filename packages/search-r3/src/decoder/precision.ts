/** How a model computes. */
import type { ModelConfig } from '../checkpoint/index.js';
import { blockWeights } from './block-weights.js';
import { floatWeights } from './float-weights.js';
import { int8Weights } from './int8-weights.js';
import type { DecoderWeights, Lookup } from './weights.js';

/**
 * `f32`; `int8`: weights by output channel, activations by row, the fastest where several rows are computed at once;
 * `int8-block` and `int4`: weights in blocks of 32, closer to f32 or smaller, but slower.
 */
export const PRECISIONS = ['f32', 'int8', 'int8-block', 'int4'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** The bits of a precision that stores weights in blocks. */
export const BLOCK_BITS = { 'int8-block': 8, int4: 4 } as const;

/** The weights of a precision from tensors under the names of `storedTensors`. */
export function weightsOf(
  precision: Precision,
  config: ModelConfig,
  lookup: Lookup,
  has: (name: string) => boolean,
): DecoderWeights {
  switch (precision) {
    case 'f32':
      return floatWeights(config, lookup);
    case 'int8':
      return int8Weights(config, lookup, has);
    case 'int8-block':
    case 'int4':
      return blockWeights(config, BLOCK_BITS[precision], lookup, has);
    default:
      return precision satisfies never;
  }
}
