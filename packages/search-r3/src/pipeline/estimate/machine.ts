/** How fast this machine computes, by short products and copies in ONNX Runtime, and how long work takes there. */
import {
  add,
  emit,
  type Feeds,
  f32,
  Graph,
  integerProduct,
  linear,
  quantizeRows,
  Session,
  type Value,
  type Work,
} from 'onnx-grad';

export interface Throughput {
  /** Multiplications and additions per second, in large matrix products. */
  floatOperations: number;
  integerOperations: number;
  /** Bytes per second that a kernel reads and writes. */
  bytes: number;
}

/** Seconds to start a kernel. */
const START = 6e-6;

/** Rows, inputs and outputs of the products: as in a layer of a small model, with a batch of texts. */
const [ROWS, INPUTS, OUTPUTS] = [512, 768, 1536];
/** Elements of the arrays that are added: more than caches hold. */
const ELEMENTS = 2 ** 22;
/** Runs of each kind, after one to warm up. Their median counts: what else the machine does slows the work too. */
const RUNS = 15;

/** Takes a few hundred milliseconds. */
export async function measureThroughput(threads?: number): Promise<Throughput> {
  const operations = 2 * ROWS * INPUTS * OUTPUTS;
  const x = f32(new Float32Array(ROWS * INPUTS).fill(0.5), [ROWS, INPUTS]);
  const w = f32(new Float32Array(OUTPUTS * INPUTS).fill(0.25), [OUTPUTS, INPUTS]);
  const floats = await secondsOfRun(
    (graph) => linear(graph.input('x', 'float32', x.shape), graph.input('w', 'float32', w.shape)),
    { x, w },
    threads,
  );
  const values = {
    dtype: 'int8',
    shape: [INPUTS, OUTPUTS],
    data: new Int8Array(INPUTS * OUTPUTS).fill(3),
  } as const;
  const scales = f32(new Float32Array(OUTPUTS).fill(1), [OUTPUTS]);
  const integers = await secondsOfRun(
    (graph) =>
      integerProduct(
        quantizeRows(graph.input('x', 'float32', x.shape)),
        graph.constant(values),
        graph.input('scales', 'float32', scales.shape),
      ),
    { x, scales },
    threads,
  );
  const array = f32(new Float32Array(ELEMENTS).fill(1), [ELEMENTS]);
  const copy = await secondsOfRun(
    (graph) => {
      const once = graph.input('x', 'float32', array.shape);
      return add(once, once);
    },
    { x: array },
    threads,
  );
  return {
    floatOperations: operations / floats,
    integerOperations: operations / integers,
    bytes: (3 * array.data.byteLength) / copy,
  };
}

async function secondsOfRun(
  build: (graph: Graph) => Value,
  feeds: Feeds,
  threads: number | undefined,
): Promise<number> {
  const graph = new Graph();
  graph.output('y', build(graph));
  const session = await Session.create(
    emit(graph, { inPlace: true }),
    threads === undefined ? {} : { threads },
  );
  try {
    const outputs = await session.runInPlace(feeds);
    const times: number[] = [];
    for (let run = 0; run < RUNS; run++) {
      const start = performance.now();
      await session.runInPlace(feeds, outputs);
      times.push((performance.now() - start) / 1000);
    }
    return times.sort((a, b) => a - b)[RUNS >> 1] ?? 0;
  } finally {
    await session.dispose();
  }
}

/** How long the kernels take: arithmetic and memory traffic do not overlap in what is measured here. */
export function secondsOf(work: Work, machine: Throughput): number {
  return (
    work.floatOperations / machine.floatOperations +
    work.integerOperations / machine.integerOperations +
    work.bytes / machine.bytes +
    work.kernels * START
  );
}
