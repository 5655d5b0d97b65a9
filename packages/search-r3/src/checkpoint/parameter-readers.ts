/** The parameters of an open model, under their own names and with the rows that its tokens need. */
import type { ModelConfig } from './config.js';
import { assertFinite } from './finite.js';
import { EMBEDDING_NAME, HEAD_NAME, parameterShapes, type Weights, type WeightTensor } from './parameters.js';
import type { TensorLocation, TensorSource } from './safetensors.js';
import { addMeanRows } from './token-tables.js';

/** Rows of the token tables that are not stored: see `addMeanRows`. */
export interface AddedRows {
  used: number;
  from: number;
  to: number;
}

/** What a `ModelFolder` reads parameters with. */
export function parameterReaders(
  stored: TensorSource,
  { places, config }: { places: ReadonlyMap<string, string>; config: ModelConfig },
  added: readonly AddedRows[],
  source: string,
) {
  const isGrown = (name: string) => added.length > 0 && (name === EMBEDDING_NAME || name === HEAD_NAME);
  const placeOf = (name: string): string => {
    const place = places.get(name);
    if (place === undefined) throw new Error(`internal: no parameter ${name}`);
    return place;
  };
  const readParameter = async (name: string): Promise<WeightTensor> => {
    const tensor = await stored.read(placeOf(name));
    if (!isGrown(name)) return tensor;
    const weights: Weights = new Map([[name, tensor]]);
    for (const { used, from, to } of added) addMeanRows(weights, used, from, to);
    return weights.get(name) ?? tensor;
  };
  return {
    readParameter,
    locate: (name: string): TensorLocation | undefined =>
      isGrown(name) ? undefined : stored.locate(placeOf(name)),
    readWeights: async (): Promise<Weights> => {
      const weights: Weights = new Map();
      for (const name of parameterShapes(config).keys()) weights.set(name, await readParameter(name));
      return weights;
    },
    checkWeights: async (): Promise<void> => {
      for (const [name, place] of places) {
        assertFinite({ weights: new Map([[name, await stored.read(place)]]) }, source);
      }
    },
  };
}
