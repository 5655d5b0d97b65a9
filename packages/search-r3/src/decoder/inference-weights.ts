/** Weights for inference, from where they are stored, and with an adapter where there is one. */
import type { Graph } from 'onnx-grad';
import { type Checkpoint, type ModelConfig, parameterShapes } from '../checkpoint/index.js';
import { type AdapterForm, declareAdapter } from './adapter.js';
import { type TensorPlaces, weightsInFiles } from './file-weights.js';
import { lookupIn, parameterInputs } from './float-weights.js';
import { weightsOf } from './precision.js';
import type { Precision } from './precision-names.js';
import { type FrozenWeights, type InferenceWeights, parameterFeeds, type WeightsIn } from './weights.js';

/** Float32 weights in memory, by reference. */
export const weightsInMemory = (checkpoint: Pick<Checkpoint, 'config' | 'weights'>): FrozenWeights => ({
  ...declaredAsInputs(checkpoint.config),
  feeds: parameterFeeds(checkpoint),
});

function declaredAsInputs(config: ModelConfig): Omit<FrozenWeights, 'feeds'> {
  const shapes = parameterShapes(config);
  return {
    ...{ config, precision: 'f32' },
    declare: (graph: Graph) => lookupIn(parameterInputs(graph, config)),
    has: (name) => shapes.has(name),
  };
}

/** @param form of the adapter on top of them, whose feeds are `adapterFeeds`. Default none. */
export const inferenceWeights = (frozen: FrozenWeights, form?: AdapterForm): InferenceWeights => ({
  weightsIn: (graph) => {
    const { config, precision } = frozen;
    const overlay = form && declareAdapter(graph, config, form).overlay;
    return weightsOf(precision, config, frozen.declare(graph), frozen.has, { overlay });
  },
  feeds: frozen.feeds,
});

/** Weights that are fed, for inference. */
export const fedWeights = (config: ModelConfig): WeightsIn =>
  inferenceWeights({ ...declaredAsInputs(config), feeds: {} }).weightsIn;

/** Weights in memory for inference, by reference. */
export const memoryWeights = (checkpoint: Pick<Checkpoint, 'config' | 'weights'>): InferenceWeights =>
  inferenceWeights(weightsInMemory(checkpoint));

/** Weights in files for inference, as `weightsInFiles`. */
export const fileWeights = (
  precision: Precision,
  config: ModelConfig,
  places: TensorPlaces,
): InferenceWeights => inferenceWeights(weightsInFiles(precision, config, places));
