/** The weights that a stage trains: all of the model's, or an adapter on top of frozen ones. */
import { Graph } from 'onnx-grad';
import type { LoraShape } from '../../checkpoint/index.js';
import {
  adapterDeclaration,
  fedWeights,
  fullDeclaration,
  type InferenceWeights,
  inferenceWeights,
} from '../../decoder/index.js';
import type { PrecisionChoice } from '../../model/index.js';
import type { RehearsedWeights } from '../../train/index.js';
import type { Settings } from '../settings.js';
import type { ModelOutline } from './outline.js';
import type { Part } from './parts.js';
import { floatBytes, outlinedWeights } from './weights.js';

/** An adapter to be trained. */
export interface LoraPlan extends Pick<LoraShape, 'rank' | 'targets' | 'dropout'> {
  /** How the frozen weights are stored to train on them. */
  base: PrecisionChoice;
  /** How they are to sample and to encode; undefined: in the same way. */
  sampling?: PrecisionChoice | undefined;
}

/** The adapter that a stage trains: that of the model, or a new one; undefined if it trains all weights. */
export function loraOf({ lora }: Settings, { adapter = lora }: ModelOutline): LoraPlan | undefined {
  if (adapter === undefined) return undefined;
  const { rank, targets, dropout } = adapter;
  const { base = 'auto', rollouts = 'base' } = lora ?? {};
  return { rank, targets, dropout, base, sampling: rollouts === 'base' ? undefined : rollouts };
}

export interface Learner {
  /** As the engine declares them. */
  weights: RehearsedWeights;
  /** As encoder and generator declare them. */
  weightsIn: InferenceWeights['weightsIn'];
  /** The model that is trained. */
  parts: Part[];
  /** Bytes of another one that stays as it is. */
  copy: number;
  /** Bytes of the arrays that the optimiser changes. */
  trained: number;
}

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

/** Bytes of the arrays that get gradients. */
function trainedBytes({ declare, sizes = {} }: RehearsedWeights): number {
  const sizeOf = (dim: number | string) => (typeof dim === 'number' ? dim : (sizes[dim] ?? 1));
  return [...declare(new Graph()).trained.values()].reduce(
    (total, { shape }) => total + FLOAT * shape.reduce<number>((size, dim) => size * sizeOf(dim), 1),
    0,
  );
}

/** @param lora undefined: all weights are trained, of the token tables with `frozen` only the row of the embed token. */
export async function learnerOf(
  outline: ModelOutline,
  tokenEmbeddings: 'frozen' | 'trained',
  lora: LoraPlan | undefined,
): Promise<Learner> {
  const { config, embedId } = outline;
  if (lora === undefined) {
    const weights = { declare: fullDeclaration(config, tokenEmbeddings === 'frozen' ? embedId : undefined) };
    const bytes = floatBytes(config);
    return {
      weights,
      weightsIn: fedWeights(config),
      parts: [{ name: 'weights', bytes }],
      copy: bytes,
      trained: trainedBytes(weights),
    };
  }
  const { frozen, parts } = await outlinedWeights(outline, lora.base);
  const sampling = lora.sampling && (await outlinedWeights(outline, lora.sampling));
  const form = { targets: lora.targets, dropout: lora.dropout, tokenId: embedId };
  const weights = { declare: adapterDeclaration(frozen, form), sizes: { rank: lora.rank } };
  const trained = trainedBytes(weights);
  return {
    weights,
    weightsIn: inferenceWeights(sampling?.frozen ?? frozen, form).weightsIn,
    parts: [...parts, ...(sampling?.parts ?? []), { name: 'adapter', bytes: trained }],
    copy: trained,
    trained,
  };
}
