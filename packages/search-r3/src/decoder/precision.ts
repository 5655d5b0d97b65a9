/** The weights of each precision. */
import type { ModelConfig } from '../checkpoint/index.js';
import { blockWeights } from './block-weights.js';
import { floatWeights } from './float-weights.js';
import { int8Weights } from './int8-weights.js';
import { BLOCK_BITS, type Precision } from './precision-names.js';
import type { DecoderWeights, Lookup, WeightsUse } from './weights.js';

/**
 * The weights of a precision from tensors under the names of `storedTensors`.
 * @throws Error for blocks with an adapter: they have no gradient, and adapters are for what was trained.
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
      if (use.trained || use.overlay) throw new Error(`internal: ${precision} takes no adapter`);
      return blockWeights(config, BLOCK_BITS[precision], lookup, has);
    default:
      return precision satisfies never;
  }
}
