/**
 * What runs of a program cost, found by going through its nodes with sizes alone: memory between the nodes, and the work
 * of the kernels.
 */
import type { Program } from '../emit.js';
import { Arena, type Handle } from './arena.js';
import { type Buffer, peakOf, planBuffers } from './buffers.js';
import { type DecodedProgram, decodeProgram, type EmittedNode } from './model.js';
import { type OrderedProgram, ordered } from './order.js';
import { bytesOf, Shapes, type Sizes } from './shapes.js';
import { heldBytes, scratchBytes, type Work, workOf } from './work.js';

/** The cost of one run. Sizes are in bytes. */
export interface RunCost {
  /** Results between the nodes, at the moment when they take most. */
  activations: number;
  /** Tensors that are fed, weights included, and those that are returned. */
  inputs: number;
  outputs: number;
  work: Work;
}

/** Goes through runs of a program in their order, as one session would do them. */
export class Rehearsal {
  readonly #program: DecodedProgram;
  readonly #ordered: OrderedProgram;
  readonly #arena = new Arena();

  /** Bytes of constant weights that the session holds: packed for products, or mapped for other kernels. */
  readonly weights: number;

  constructor(program: Program) {
    this.#program = decodeProgram(program);
    this.#ordered = ordered(this.#program);
    const { packed, mapped } = heldBytes(this.#program, this.#ordered.nodes);
    this.weights = packed + mapped;
  }

  /** Nodes that a run goes through. */
  get kernels(): number {
    return this.#ordered.nodes.length;
  }

  /** Bytes that the arena of the session has taken from the system by now; it keeps them until it is disposed of. */
  get resident(): number {
    return this.#arena.touched;
  }

  /**
   * A run with these sizes of the program's symbols.
   * @throws RangeError for a symbol without a size.
   */
  run(sizes: Sizes): RunCost {
    const { folded, nodes } = this.#ordered;
    const shapes = new Shapes(this.#program, sizes);
    for (const node of folded) shapes.infer(node);
    for (const node of nodes) shapes.infer(node);
    const buffers = planBuffers(this.#program.outputs, nodes, shapes);
    this.#allocate(buffers, nodes, shapes);
    const total = (names: Iterable<string>) =>
      [...names].reduce((sum, name) => sum + bytesOf(shapes.of(name)), 0);
    return {
      activations: peakOf(buffers, nodes.length),
      inputs: total(this.#program.inputs.keys()),
      outputs: total(this.#program.outputs),
      work: workOf(nodes, shapes),
    };
  }

  #allocate(buffers: readonly Buffer[], nodes: readonly EmittedNode[], shapes: Shapes): void {
    const ending: Handle[][] = nodes.map(() => []);
    let next = 0;
    for (const [at, node] of nodes.entries()) {
      for (let own = buffers[next]; own?.from === at; own = buffers[++next]) {
        ending[own.to]?.push(this.#arena.allocate(own.bytes));
      }
      const scratch = scratchBytes(node, shapes).map((bytes) => this.#arena.allocate(bytes));
      for (const handle of [...scratch, ...(ending[at] ?? [])]) this.#arena.release(handle);
    }
  }
}
