/** The weights that a model computes with when it is not trained: how a program declares them, and what they take. */
import {
  EMBEDDING_NAME,
  elementCount,
  type ModelConfig,
  parameterCount,
  parameterShapes,
} from '../../checkpoint/index.js';
import {
  type FrozenWeights,
  int8IsExact,
  type TensorPlace,
  weightsInFiles,
  weightsInMemory,
} from '../../decoder/index.js';
import { type StoredTensor, type StoredType, storedTensors } from '../../decoder/stored-tensors.js';
import { LARGE, type PrecisionChoice } from '../../model/index.js';
import type { ModelOutline } from './outline.js';
import type { Part } from './parts.js';

const WIDTH: Record<StoredType, number> = { float32: 4, float16: 2, bfloat16: 2, int8: 1, uint8: 1 };
const FLOAT = WIDTH.float32;

/** Bytes of all weights in float32. */
export const floatBytes = (config: ModelConfig): number => FLOAT * parameterCount(config);

export interface OutlinedWeights {
  frozen: FrozenWeights;
  /** What is there once. Sessions hold their own besides (`Rehearsal.weights`). */
  parts: Part[];
}

/** As `Model.load` chooses them. Whether `auto` falls back to f32 for its vectors is not known before. */
export async function outlinedWeights(
  { config, embedding }: Pick<ModelOutline, 'config' | 'embedding'>,
  choice: PrecisionChoice,
): Promise<OutlinedWeights> {
  const large = parameterCount(config) >= LARGE;
  const auto = large && (await int8IsExact()) ? 'int8' : 'f32';
  const precision = choice === 'auto' ? auto : choice;
  if (precision === 'f32' && !(large && embedding !== undefined)) {
    const frozen = weightsInMemory({ config, weights: new Map() });
    const parts = [{ name: 'weights', bytes: floatBytes(config) }];
    return { frozen, parts };
  }
  const tensors: ReadonlyMap<string, StoredTensor> =
    precision === 'f32'
      ? new Map([...parameterShapes(config)].map(([name, shape]) => [name, { type: 'float32', shape }]))
      : storedTensors(config, precision, embedding ?? 'float32');
  const places = new Map(
    [...tensors].map(([name, tensor]): [string, TensorPlace] => [
      name,
      { ...tensor, path: '/', offset: 0, length: bytesOf(tensor) },
    ]),
  );
  const frozen = weightsInFiles(precision, config, places);
  const table = tensors.get(EMBEDDING_NAME);
  const parts = [{ name: 'embedding, mapped', bytes: table === undefined ? 0 : bytesOf(table) }];
  return { frozen, parts };
}

const bytesOf = ({ type, shape }: StoredTensor) => WIDTH[type] * elementCount(shape);
