/**
 * Which results share a buffer, and how long each buffer lives: ONNX Runtime's allocation plan for sequential execution
 * (`AllocationPlanner`). A result takes the buffer of an operand if its kernel allows that and nothing reads the operand
 * later; otherwise that of a dead tensor of the same shape, the one that died last; otherwise a new one. A buffer is
 * freed after the last use of the last result in it.
 */
import type { DecodedProgram, EmittedNode } from './model.js';
import { elementBytes } from './model.js';
import { bytesOf, type Shapes, type Tensor } from './shapes.js';

/** Kernels whose first result is their first operand in another shape. */
const ALIASES = new Set(['Reshape', 'Squeeze', 'Identity']);
/** Kernels that may write their first result over their first operand. */
const OVERWRITES = new Set([
  'Cast',
  'LogSoftmax',
  'QuickGelu',
  'Relu',
  'ScatterElements',
  'Sigmoid',
  'Softmax',
  'Tanh',
]);

/** A buffer of the arena: the positions in the order of the nodes between which it exists. */
export interface Buffer {
  readonly bytes: number;
  readonly from: number;
  to: number;
}

/** A tensor in memory; several names may stand for it. */
interface Storage {
  /** The tensor that it was made for. */
  readonly tensor: Tensor;
  /** Undefined for what is fed, stored in the program or given to the caller. */
  readonly buffer: Buffer | undefined;
  uses: number;
}

/** Buffers that a run allocates, in the order in which it does. */
export function planBuffers(
  outputs: DecodedProgram['outputs'],
  nodes: readonly EmittedNode[],
  shapes: Shapes,
): Buffer[] {
  const uses = new Map<string, number>();
  for (const name of nodes.flatMap((node) => node.inputs)) uses.set(name, (uses.get(name) ?? 0) + 1);
  const storages = new Map<string, Storage>();
  const buffers: Buffer[] = [];
  const free = new DeadTensors();
  // Not the arena's, and never free for others.
  const foreign = (name: string): Storage => ({
    tensor: shapes.of(name),
    buffer: undefined,
    uses: Number.POSITIVE_INFINITY,
  });
  const storageOf = (name: string): Storage => {
    const known = storages.get(name);
    if (known !== undefined) return known;
    const made = foreign(name);
    storages.set(name, made);
    return made;
  };
  for (const [at, node] of nodes.entries()) {
    for (const [i, name] of node.outputs.entries()) {
      if (name === '') continue;
      const own = uses.get(name) ?? 0;
      if (outputs.has(name)) {
        storages.set(name, foreign(name));
        continue;
      }
      const tensor = shapes.of(name);
      const shared = i === 0 ? sharedWithOperand(node, tensor, storageOf) : undefined;
      const reused = shared ?? free.take(tensor);
      if (reused !== undefined) {
        reused.uses += own;
        storages.set(name, reused);
        continue;
      }
      const buffer = { bytes: bytesOf(tensor), from: at, to: nodes.length - 1 };
      if (buffer.bytes > 0) buffers.push(buffer);
      storages.set(name, { tensor, buffer, uses: own });
    }
    const release = (storage: Storage) => {
      if (storage.buffer !== undefined) storage.buffer.to = at;
      free.add(storage);
    };
    for (const name of node.inputs) {
      if (name === '') continue;
      const storage = storageOf(name);
      storage.uses -= 1;
      if (storage.uses === 0) release(storage);
    }
    for (const name of node.outputs) {
      if (name === '') continue;
      const storage = storageOf(name);
      if (storage.uses === 0) release(storage);
    }
  }
  return buffers;
}

/** What the first result of a node takes over from the first operand. */
function sharedWithOperand(
  { type, inputs: [first = ''] }: EmittedNode,
  result: Tensor,
  storageOf: (name: string) => Storage,
): Storage | undefined {
  if (ALIASES.has(type)) return storageOf(first);
  if (!OVERWRITES.has(type)) return undefined;
  const storage = storageOf(first);
  return storage.uses === 1 && sameSize(storage.tensor, result) ? storage : undefined;
}

/** Buffers without use, by the size of their tensor. */
class DeadTensors {
  readonly #bySize = new Map<string, Storage[]>();

  add(storage: Storage): void {
    const size = sizeOf(storage.tensor);
    if (storage.buffer === undefined || size === undefined) return;
    const same = this.#bySize.get(size);
    if (same === undefined) this.#bySize.set(size, [storage]);
    else same.push(storage);
  }

  /** The tensor of this size that died last, which is dead no longer. */
  take(tensor: Tensor): Storage | undefined {
    const size = sizeOf(tensor);
    return size === undefined || tensor.shape.length === 0 ? undefined : this.#bySize.get(size)?.pop();
  }
}

/**
 * What two tensors share if ONNX Runtime sees before any run that they have one size: it compares names of dimensions.
 * Undefined for a tensor whose dimensions have no names.
 */
function sizeOf({ type, shape }: Tensor): string | undefined {
  const names = shape.map(({ name }) => name);
  return names.includes(undefined) ? undefined : [elementBytes(type), ...names].join();
}

function sameSize(a: Tensor, b: Tensor): boolean {
  const size = sizeOf(a);
  return size !== undefined && size === sizeOf(b);
}

/** The most bytes that the buffers take at one moment. */
export function peakOf(buffers: readonly Buffer[], length: number): number {
  const change = new Float64Array(length + 2);
  for (const { bytes, from, to } of buffers) {
    change[from] = (change[from] ?? 0) + bytes;
    change[to + 1] = (change[to + 1] ?? 0) - bytes;
  }
  let [current, peak] = [0, 0];
  for (const bytes of change) {
    current += bytes;
    peak = Math.max(peak, current);
  }
  return peak;
}
