/** A LoRA adapter in a graph: what it adds to linear layers, and its rows of the token tables. */
import { div, f32, type Graph, gemm, type HostTensor, linear, mul, reshape, type Value } from 'onnx-grad';
import {
  type Adapter,
  elementCount,
  embedRow,
  type LoraShape,
  loraA,
  loraB,
  loraScale,
  type ModelConfig,
  parameterShapes,
  type Weights,
} from '../checkpoint/index.js';
import { randomStream } from '../run/index.js';
import { Dropout } from './dropout.js';
import { tensorOf } from './lookup.js';
import { linearNames } from './stored-names.js';
import { tokenRowInputs, tokenTables } from './token-row.js';
import type { Overlay } from './weights.js';

/** The name of the input that holds an adapter's scale. */
const SCALE = 'lora_scale';

/** The linear layers that an adapter changes, by name, with their sizes [outputs, inputs]. */
function adaptedLinears(config: ModelConfig, { targets }: Pick<LoraShape, 'targets'>) {
  const shapes = parameterShapes(config);
  const found = new Map<string, readonly [outputs: number, inputs: number]>();
  for (let layer = 0; layer < config.layers; layer++) {
    const { qkv: _, ...names } = linearNames(layer);
    for (const name of Object.values(names)) {
      if (!targets.some((kind) => name.endsWith(`.${kind}`))) continue;
      const [outputs = 0, inputs = 0] = tensorOf(shapes, `${name}.weight`);
      found.set(name, [outputs, inputs]);
    }
  }
  return found;
}

/** How many inputs each linear layer that an adapter changes has. */
export const adaptedInputs = (config: ModelConfig, form: Pick<LoraShape, 'targets'>): Map<string, number> =>
  new Map([...adaptedLinears(config, form)].map(([name, [, inputs]]) => [name, inputs]));

/** What decides the graph of an adapter; adapters that agree in it share sessions. */
export type AdapterForm = Pick<Adapter, 'targets' | 'tokenId'>;

/**
 * Declares an adapter as inputs, of any rank: by the names of `Adapter.weights`, and the scale.
 * @param dropout the rate at which elements of what the pairs read are left out. Default 0.
 * @returns the overlay, and the inputs that training changes.
 */
export function declareAdapter(
  graph: Graph,
  config: ModelConfig,
  form: AdapterForm,
  dropout = 0,
): { overlay: Overlay; trained: Map<string, Value> } {
  const linears = adaptedLinears(config, form);
  const scale = graph.input(SCALE, 'float32', []);
  const masks = dropout === 0 ? undefined : new Dropout(graph, dropout);
  const trained = new Map<string, Value>();
  const declare = (name: string, shape: readonly (number | string)[]) =>
    trained.set(name, graph.input(name, 'float32', shape));
  for (const [name, [outputs, inputs]] of linears) {
    declare(loraA(name), ['rank', inputs]);
    declare(loraB(name), [outputs, 'rank']);
  }
  const token = form.tokenId === undefined ? undefined : tokenRowInputs(graph, config, form.tokenId);
  for (const [table, value] of token?.rows ?? []) trained.set(embedRow(table), value);
  const overlay: Overlay = {
    token,
    has: (name) => linears.has(name),
    add(y, x, name, { inputs, outputs } = {}) {
      const size = linears.get(name);
      if (size === undefined) return y;
      const [a, b] = [tensorOf(trained, loraA(name)), tensorOf(trained, loraB(name))];
      // The small matrices are brought to where smoothing has moved the large one.
      const down = inputs === undefined ? a : mul(a, inputs);
      const up = outputs === undefined ? b : div(b, reshape(outputs, [size[0], 1]));
      const read = masks?.apply(x, name) ?? x;
      return gemm(mul(linear(read, down), scale), up, { transB: true, c: y });
    },
  };
  return { overlay, trained };
}

/**
 * The feeds of an adapter, sharing its memory. For a target that it lacks they are zeros.
 * @param adapter undefined: the base alone.
 * @param rows of the base, by the names of `trainedWeights`, where the adapter has none.
 */
export function adapterFeeds(
  config: ModelConfig,
  form: AdapterForm,
  adapter: Adapter | undefined,
  rows: Weights = new Map(),
): Record<string, HostTensor> {
  const feeds: Record<string, HostTensor> = {
    [SCALE]: f32(Float32Array.of(adapter === undefined ? 0 : loraScale(adapter)), []),
  };
  const rank = adapter?.rank ?? 1;
  for (const [name, [outputs, inputs]] of adaptedLinears(config, form)) {
    for (const [part, shape] of [
      [loraA(name), [rank, inputs]],
      [loraB(name), [outputs, rank]],
    ] as const) {
      feeds[part] = f32(adapter?.weights.get(part)?.data ?? new Float32Array(elementCount(shape)), shape);
    }
  }
  for (const name of form.tokenId === undefined ? [] : tokenTables(config).map(embedRow)) {
    const { data, shape } = adapter?.weights.get(name) ?? tensorOf(rows, name);
    feeds[name] = f32(data, shape);
  }
  return feeds;
}

/**
 * A new adapter, which changes nothing yet: A uniform as in PEFT (bound 1 / sqrt(inputs)), B zero.
 * @param token whose rows it gets, as copies; default none.
 */
export function newAdapter(
  config: ModelConfig,
  shape: LoraShape,
  { seed, token }: { seed: number; token?: { id: number; rows: Weights } | undefined },
): Adapter {
  const weights: Weights = new Map();
  for (const [name, [outputs, inputs]] of adaptedLinears(config, shape)) {
    const random = randomStream(seed, 'lora', name);
    const bound = 1 / Math.sqrt(inputs);
    const a = Float32Array.from({ length: shape.rank * inputs }, () => bound * (2 * random.uniform() - 1));
    weights.set(loraA(name), { data: a, shape: [shape.rank, inputs] });
    weights.set(loraB(name), {
      data: new Float32Array(outputs * shape.rank),
      shape: [outputs, shape.rank],
    });
  }
  for (const [name, { data, shape: row }] of token?.rows ?? [])
    weights.set(name, { data: data.slice(), shape: row });
  const { rank, alpha, rsLora, dropout, targets } = shape;
  return { rank, alpha, rsLora, dropout, targets, weights, tokenId: token?.id };
}
