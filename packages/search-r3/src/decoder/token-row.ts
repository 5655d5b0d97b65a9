/**
 * Training one row of the token tables while the others stay as they are. Under Adam every row of a tied table moves by
 * about the learning rate at each step, whether its token occurs or not, because softmax gives each of them a little
 * gradient and Adam scales it up: a model forgets names it does not meet in training (docs/decisions/004).
 */
import type { Graph, Value } from 'onnx-grad';
import { EMBEDDING_NAME, embedRow, HEAD_NAME, type ModelConfig, type Weights } from '../checkpoint/index.js';

/** The names of a model's token tables: of the embeddings, and of the head where it has one of its own. */
export const tokenTables = ({ tieWordEmbeddings }: ModelConfig): string[] =>
  tieWordEmbeddings ? [EMBEDDING_NAME] : [EMBEDDING_NAME, HEAD_NAME];

/**
 * The arrays that training changes: all weights, or with `token` all but the token tables, of which only the row of that
 * token, [1, hidden], in the memory of its table.
 */
export function trainedWeights(weights: Weights, config: ModelConfig, token?: number): Weights {
  if (token === undefined) return weights;
  const tables = tokenTables(config);
  const trained = new Map([...weights].filter(([name]) => !tables.includes(name)));
  for (const table of tables) {
    const tensor = weights.get(table);
    const width = config.hiddenSize;
    if (tensor === undefined || token >= (tensor.shape[0] as number)) {
      throw new RangeError(`${table} has no row ${token} to train`);
    }
    const data = tensor.data.subarray(token * width, (token + 1) * width);
    trained.set(embedRow(table), { data, shape: [1, width] });
  }
  return trained;
}

/** A token's rows, by the names of `trainedWeights`. @param read fills `out` with elements of a table from `start` on. */
export async function readTokenRows(
  config: ModelConfig,
  token: number,
  read: (table: string, start: number, out: Float32Array) => Promise<void>,
): Promise<Weights> {
  const width = config.hiddenSize;
  const rows: Weights = new Map();
  for (const table of tokenTables(config)) {
    const data = new Float32Array(width);
    await read(table, token * width, data);
    rows.set(embedRow(table), { data, shape: [1, width] });
  }
  return rows;
}

/** The row of a token in a graph, which stands in for that of each table. */
export interface TokenRow {
  id: number;
  /** By name of the table: [1, hidden]. */
  rows: ReadonlyMap<string, Value>;
}

/** Declares the rows that `trainedWeights` gives as inputs, by the names they have there. */
export function tokenRowInputs(graph: Graph, config: ModelConfig, id: number): TokenRow {
  const tables = tokenTables(config);
  return {
    id,
    rows: new Map(
      tables.map((table) => [table, graph.input(embedRow(table), 'float32', [1, config.hiddenSize])]),
    ),
  };
}

/** The inputs among which gradients are asked for, by the names of `trainedWeights`. */
export function trainedInputs(parameters: ReadonlyMap<string, Value>, token?: TokenRow): Map<string, Value> {
  if (token === undefined) return new Map(parameters);
  return new Map([
    ...[...parameters].filter(([name]) => !token.rows.has(name)),
    ...[...token.rows].map(([table, value]) => [embedRow(table), value] as const),
  ]);
}
