/** The parameters of an open model, under their own names and with the rows that its tokens need. */
import type { ModelConfig } from './config.js';
import { assertFinite } from './finite.js';
import { EMBEDDING_NAME, HEAD_NAME, parameterShapes, type Weights, type WeightTensor } from './parameters.js';
import type { TensorLocation, TensorSource } from './safetensors.js';
import { type AddedRows, addRows } from './token-tables.js';

/**
 * What a `ModelFolder` reads parameters with.
 * @param added rows of the token tables that are not stored.
 */
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
  const readWhole = async (name: string): Promise<WeightTensor> => {
    const tensor = await stored.read(placeOf(name));
    if (!isGrown(name)) return tensor;
    const weights: Weights = new Map([[name, tensor]]);
    for (const rows of added) addRows(weights, rows);
    return weights.get(name) ?? tensor;
  };
  /** Tables with added rows, which depend on all others. */
  const grown = new Map<string, WeightTensor>();
  return {
    readParameter: async (name: string, start: number, out: Float32Array): Promise<void> => {
      if (!isGrown(name)) return stored.readInto(placeOf(name), start, out);
      const table = grown.get(name) ?? (await readWhole(name));
      grown.set(name, table);
      out.set(table.data.subarray(start, start + out.length));
    },
    locate: (name: string): TensorLocation | undefined =>
      isGrown(name) ? undefined : stored.locate(placeOf(name)),
    readWeights: async (): Promise<Weights> => {
      const weights: Weights = new Map();
      for (const name of parameterShapes(config).keys()) weights.set(name, await readWhole(name));
      return weights;
    },
    checkWeights: async (): Promise<void> => {
      for (const [name, place] of places) {
        assertFinite({ weights: new Map([[name, await stored.read(place)]]) }, source);
      }
    },
  };
}
