/** The weights that a model computes with when it is not trained: how a program declares them, and what they take. */
import { elementCount, type ModelConfig, parameterCount, parameterShapes } from '../../checkpoint/index.js';
import {
  fedWeights,
  fileWeights,
  type InferenceWeights,
  int8IsExact,
  type Precision,
  type TensorPlace,
} from '../../decoder/index.js';
import { type StoredType, storedTensors } from '../../decoder/stored-tensors.js';
import { LARGE, type PrecisionChoice } from '../../model/index.js';
import type { ModelOutline } from './outline.js';
import type { Part } from './parts.js';

const WIDTH: Record<StoredType, number> = { float32: 4, float16: 2, bfloat16: 2, int8: 1, uint8: 1 };
const FLOAT = WIDTH.float32;

/** Bytes of all weights in float32. */
export const floatBytes = (config: ModelConfig): number => FLOAT * parameterCount(config);

export interface OutlinedWeights {
  precision: Precision;
  weightsIn: InferenceWeights['weightsIn'];
  parts: Part[];
}

/** As `Model.load` chooses them. Whether `auto` falls back to f32 for its vectors is not known before. */
export async function outlinedWeights(
  { config, embedding }: ModelOutline,
  choice: PrecisionChoice,
): Promise<OutlinedWeights> {
  const large = parameterCount(config) >= LARGE;
  const auto = large && (await int8IsExact()) ? 'int8' : 'f32';
  const precision = choice === 'auto' ? auto : choice;
  if (precision === 'f32' && !(large && embedding !== undefined)) {
    return {
      precision,
      weightsIn: fedWeights(config),
      parts: [{ name: 'weights', bytes: floatBytes(config) }],
    };
  }
  const tensors =
    precision === 'f32'
      ? new Map(
          [...parameterShapes(config)].map(([name, shape]) => [name, { type: 'float32', shape } as const]),
        )
      : storedTensors(config, precision, embedding ?? 'float32');
  const places = new Map(
    [...tensors].map(([name, tensor]): [string, TensorPlace] => [
      name,
      { ...tensor, path: '/', offset: 0, length: WIDTH[tensor.type] * elementCount(tensor.shape) },
    ]),
  );
  const bytes = [...places.values()].reduce((sum, { length }) => sum + length, 0);
  return {
    precision,
    weightsIn: fileWeights(precision, config, places).weightsIn,
    parts: [{ name: 'weights (mapped, or packed for the kernels)', bytes }],
  };
}
