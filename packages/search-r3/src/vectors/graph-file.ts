/** The proximity graph of a saved index. */
import { digestOf, type FileDigest } from '../run/checked-files.js';
import { validate } from '../run/validate.js';
import { annOptionsSchema } from './ann-options.js';
import { Graph } from './graph.js';
import { queryOf } from './queries.js';

const { connectivity, buildWidth, threads } = validate(annOptionsSchema, {}, 'AnnIndex options');

/** Settings of saved graphs, as recorded in manifests. */
export const GRAPH_SETTINGS = { format: 'usearch-2', connectivity, buildWidth } as const;

/** Builds the graph of all rows of a matrix [rows * dimension] and writes it to a new file. */
export async function writeGraph(path: string, matrix: Float32Array, dimension: number): Promise<FileDigest> {
  const graph = new Graph({ dimension, connectivity, buildWidth, threads });
  try {
    const vector = (row: number) => queryOf(matrix, row, dimension);
    await graph.fill({ size: matrix.length / dimension, has: () => true, vector });
    await graph.save(path);
  } finally {
    await graph.dispose();
  }
  return digestOf(path);
}
