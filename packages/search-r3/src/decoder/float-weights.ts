/** Float32 weights: inputs of a graph that training changes, or tensors mapped from a file. */
import { cast, equal, type Graph, gatherRows, linear, reshape, swiglu, type Value, where } from 'onnx-grad';
import { EMBEDDING_NAME, HEAD_NAME, type ModelConfig, parameterShapes } from '../checkpoint/index.js';
import { tensorOf } from './lookup.js';
import { linearNames } from './stored-names.js';
import type { TokenRow } from './token-row.js';
import type { DecoderWeights, Lookup, WeightsUse } from './weights.js';

/** The parameters of a model as values of a graph, by their Hugging Face names. */
export type ParameterValues = ReadonlyMap<string, Value>;

/** Declares a model's parameters as graph inputs, each name preceded by `prefix`. */
export function parameterInputs(graph: Graph, config: ModelConfig, prefix = ''): ParameterValues {
  const values = new Map<string, Value>();
  for (const [name, shape] of parameterShapes(config)) {
    values.set(name, graph.input(prefix + name, 'float32', shape));
  }
  return values;
}

/** @throws Error for a missing name, as `tensorOf`. */
export const lookupIn =
  (parameters: ParameterValues): Lookup =>
  (name) =>
    tensorOf(parameters, name);

/** @param lookup gives the parameters of `parameterShapes`; half-precision ones are cast. */
export function floatWeights(
  config: ModelConfig,
  lookup: Lookup,
  { trained = false, overlay, token = overlay?.token }: WeightsUse = {},
): DecoderWeights {
  const shapes = parameterShapes(config);
  const float = (x: Value) => (x.dtype === 'float32' ? x : cast(x, 'float32'));
  const parameter = (name: string) => float(lookup(name));
  const project = (x: Value, name: string) => {
    const bias = `${name}.bias`;
    const y = linear(x, parameter(`${name}.weight`), shapes.has(bias) ? parameter(bias) : undefined);
    return overlay === undefined ? y : overlay.add(y, x, name);
  };
  return {
    inference: !trained,
    embed: (ids) => lookUpTokens(lookup(EMBEDDING_NAME), ids, token),
    norm: (name) => parameter(`${name}.weight`),
    attention(x, layer) {
      const { q, k, v } = linearNames(layer);
      return [project(x, q), project(x, k), project(x, v)];
    },
    output: (x, layer) => project(x, linearNames(layer).output),
    gates(x, layer) {
      const { gate, up } = linearNames(layer);
      return [project(x, gate), project(x, up)];
    },
    down: ([gate, up], layer) => project(swiglu(gate, up), linearNames(layer).down),
    logits: (x) => {
      const name = headTable(config);
      return withTokenLogits(linear(x, parameter(name)), x, name, token);
    },
  };
}

/** The name of the token table that the head multiplies with. */
export const headTable = ({ tieWordEmbeddings }: ModelConfig): string =>
  tieWordEmbeddings ? EMBEDDING_NAME : HEAD_NAME;

const identity = (graph: Graph, id: number) =>
  graph.constant({ dtype: 'int64', shape: [], data: BigInt64Array.of(BigInt(id)) });

/** Rows of a table, [batch, length, hidden]; those of a half-precision table are cast, not the table. */
export function lookUpTokens(table: Value, ids: Value, token?: TokenRow): Value {
  const rows = gatherRows(table, ids);
  const looked = rows.dtype === 'float32' ? rows : cast(rows, 'float32');
  const row = token?.rows.get(EMBEDDING_NAME);
  if (token === undefined || row === undefined) return looked;
  const isToken = equal(ids, identity(ids.graph, token.id));
  return where(reshape(isToken, [...ids.shape, 1]), row, looked);
}

/** Logits [rows, vocabulary] of hidden states [rows, hidden], those of one token from its own row of a table. */
export function withTokenLogits(
  all: Value,
  hidden: Value,
  table: string,
  token: TokenRow | undefined,
): Value {
  const row = token?.rows.get(table);
  if (token === undefined || row === undefined) return all;
  const { graph } = hidden;
  const classes = all.shape[1] as number;
  const columns = graph.constant({
    dtype: 'int64',
    shape: [classes],
    data: BigInt64Array.from({ length: classes }, (_, i) => BigInt(i)),
  });
  return where(equal(columns, identity(graph, token.id)), linear(hidden, row), all);
}
