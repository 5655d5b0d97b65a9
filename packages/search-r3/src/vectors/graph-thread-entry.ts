/** The thread behind a `GraphThread`. */
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';
import type {
  GraphAnswer,
  GraphContents,
  GraphMatches,
  GraphReply,
  GraphRequest,
  GraphShape,
} from './graph-thread.js';

const port = parentPort;
if (port === null) throw new Error('internal: started outside a worker');

// Its ES module looks for the binary from the calling file upwards and may never end; the CommonJS one knows where it
// is.
const usearch: typeof import('usearch') = createRequire(import.meta.url)('usearch');

const { dimension, connectivity, buildWidth, threads } = workerData as GraphShape;
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

function search(queries: Float32Array, wanted: number): GraphMatches {
  const found = graph.search(queries, wanted, threads);
  const rows = Int32Array.from(found.keys, Number);
  // A single query has no counts, but exactly the keys that were found.
  const counts = 'counts' in found ? (found.counts as BigUint64Array) : [BigInt(found.keys.length)];
  return { rows, counts: Int32Array.from(counts, Number) };
}

function contents(): GraphContents {
  const size = graph.size();
  const keys = graph.contains(BigUint64Array.from({ length: size }, (_, row) => BigInt(row)));
  return { dimension: graph.dimensions(), size, complete: (keys as boolean[]).every(Boolean) };
}

function handle(request: GraphRequest): GraphAnswer {
  switch (request.kind) {
    case 'add':
      graph.add(BigUint64Array.from(request.rows, BigInt), request.vectors, threads);
      return undefined;
    case 'search':
      return search(request.queries, request.wanted);
    case 'save':
      graph.save(request.path);
      return undefined;
    case 'load':
      graph.load(request.path);
      return contents();
    case 'end':
      port?.close();
      return undefined;
    default:
      return request satisfies never;
  }
}

function answer(request: GraphRequest): GraphReply {
  try {
    return { answer: handle(request) };
  } catch (error) {
    return { error: error instanceof Error ? error.message : String(error) };
  }
}

port.on('message', (request: GraphRequest) => {
  const reply = answer(request);
  if (request.kind === 'end') return;
  const matches =
    'answer' in reply && reply.answer !== undefined && 'rows' in reply.answer ? reply.answer : undefined;
  port.postMessage(reply, matches === undefined ? [] : [matches.rows.buffer, matches.counts.buffer]);
});
