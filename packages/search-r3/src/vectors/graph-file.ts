/** The proximity graph of a saved index. */
import { digestOf, type FileDigest } from '../run/checked-files.js';
import { validate } from '../run/validate.js';
import { annOptionsSchema } from './ann-options.js';
import { Graph, type VectorSource } from './graph.js';

const { connectivity, buildWidth, threads } = validate(annOptionsSchema, {}, 'AnnIndex options');

/** Settings of saved graphs, as recorded in manifests. */
export const GRAPH_SETTINGS = { format: 'usearch-2', connectivity, buildWidth } as const;

/** Builds the graph of all vectors of a source and writes it to a new file. */
export async function writeGraph(path: string, source: VectorSource, dimension: number): Promise<FileDigest> {
  const graph = new Graph({ dimension, connectivity, buildWidth, threads });
  try {
    await graph.fill(source);
    await graph.save(path);
  } finally {
    await graph.dispose();
  }
  return digestOf(path);
}
