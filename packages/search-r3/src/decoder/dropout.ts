/**
 * Dropout on what the pairs of an adapter read (LoRA, Hu et al. 2021). The masks come from noise that is fed, so that
 * two passes over a batch, or a batch cut into pieces, see the same ones.
 */
import { type Dim, dropout, type Graph, type Value } from 'onnx-grad';

/** Noise of the rows of a matrix: float32 [rows] in [1, 2), by token. */
export const rowNoiseName = (rows: Dim): string => `dropout_rows[${rows}]`;
/** Noise of the columns of what a linear layer reads: float32 [inputs] in [1, 2). */
export const columnNoiseName = (linear: string): string => `dropout_columns[${linear}]`;

/** Declares the noise that it needs as inputs. */
export class Dropout {
  readonly #graph: Graph;
  readonly #rate: number;
  /** By name: a layer has one whatever batch it reads, and a batch whatever layer reads it. */
  readonly #noise = new Map<string, Value>();

  constructor(graph: Graph, rate: number) {
    this.#graph = graph;
    this.#rate = rate;
  }

  /** What the pair of the layer `linear` reads in place of x [rows, inputs]. */
  apply(x: Value, linear: string): Value {
    const [rows = 1, inputs = 1] = x.shape;
    const rowNoise = this.#noiseOf(rowNoiseName(rows), rows);
    const columnNoise = this.#noiseOf(columnNoiseName(linear), inputs);
    return dropout(x, rowNoise, columnNoise, this.#rate);
  }

  #noiseOf(name: string, length: Dim): Value {
    const noise = this.#noise.get(name) ?? this.#graph.input(name, 'float32', [length]);
    this.#noise.set(name, noise);
    return noise;
  }
}
