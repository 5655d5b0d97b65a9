/**
 * A usearch graph in its own thread, so that building one (minutes for a million vectors) blocks nobody. The binding is
 * synchronous and cannot share a graph between threads, so the graph stays in the thread that built it, and searches
 * run there too, one at a time.
 */
import { createRequire } from 'node:module';
import { serveWorker, transfer, workerInput } from '../run/workers/index.js';

export interface GraphShape {
  dimension: number;
  /** Links per vector and level (M). */
  connectivity: number;
  /** Candidates considered when a vector is added (efConstruction). */
  buildWidth: number;
  /** Threads of an addition or a search. */
  threads: number;
}

/** Candidates of a batch of queries: query i has `counts[i]` rows, starting at i * wanted. */
export interface GraphMatches {
  rows: Int32Array<ArrayBuffer>;
  counts: Int32Array<ArrayBuffer>;
}

/** Contents of a loaded graph; `complete` if its keys are exactly those below `size`. */
export interface GraphContents {
  dimension: number;
  size: number;
  complete: boolean;
}

export interface GraphWorker {
  /** Adds new rows. */
  add(rows: Int32Array, vectors: Float32Array): void;
  /** The `wanted` nearest rows of each query, from as many candidates. Takes at least one query. */
  search(queries: Float32Array, wanted: number): GraphMatches;
  save(path: string): void;
  load(path: string): GraphContents;
}

// Its ES module looks for the binary from the calling file upwards and may never end; the CommonJS one knows where it
// is.
const usearch: typeof import('usearch') = createRequire(import.meta.url)('usearch');

const { dimension, connectivity, buildWidth, threads } = workerInput<GraphShape>();
const graph = new usearch.Index({
  dimensions: dimension,
  metric: usearch.MetricKind.IP,
  // Half the memory of float32 and faster at the same recall; scores are recomputed from the vectors.
  quantization: usearch.ScalarKind.BF16,
  connectivity,
  expansion_add: buildWidth,
  // A search considers as many candidates as it should return, but at least this many.
  expansion_search: 1,
  multi: false,
});

serveWorker<GraphWorker>({
  add: (rows, vectors) => graph.add(BigUint64Array.from(rows, BigInt), vectors, threads),
  search: (queries, wanted) => {
    const found = graph.search(queries, wanted, threads);
    const rows = Int32Array.from(found.keys, Number);
    // A single query has no counts, but exactly the keys that were found.
    const given = 'counts' in found ? (found.counts as BigUint64Array) : [BigInt(found.keys.length)];
    const counts = Int32Array.from(given, Number);
    return transfer({ rows, counts }, [rows.buffer, counts.buffer]);
  },
  save: (path) => graph.save(path),
  load: (path) => {
    graph.load(path);
    const size = graph.size();
    const keys = graph.contains(BigUint64Array.from({ length: size }, (_, row) => BigInt(row)));
    return { dimension: graph.dimensions(), size, complete: (keys as boolean[]).every(Boolean) };
  },
});
