/** The weights of each precision. */
import type { ModelConfig } from '../checkpoint/index.js';
import { blockWeights } from './block-weights.js';
import { floatWeights } from './float-weights.js';
import { int8Weights } from './int8-weights.js';
import { BLOCK_BITS, type Precision } from './precision-names.js';
import type { DecoderWeights, Lookup, WeightsUse } from './weights.js';

/**
 * The weights of a precision from tensors under the names of `storedTensors`.
 * @throws Error for blocks that are to be trained through: they have no gradient.
 */
export function weightsOf(
  precision: Precision,
  config: ModelConfig,
  lookup: Lookup,
  has: (name: string) => boolean,
  use: WeightsUse = {},
): DecoderWeights {
  switch (precision) {
    case 'f32':
      return floatWeights(config, lookup, use);
    case 'int8':
      return int8Weights(config, lookup, has, use);
    case 'int8-block':
    case 'int4':
      if (use.trained) throw new Error(`internal: ${precision} has no gradient`);
      return blockWeights(config, BLOCK_BITS[precision], lookup, has, use);
    default:
      return precision satisfies never;
  }
}
