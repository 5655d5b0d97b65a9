/** The work of the kernels of a run: multiplications and additions of matrix products, and bytes read and written. */
import { type DecodedProgram, type EmittedNode, elementBytes, integerOf } from './model.js';
import { bytesOf, elementsOf, type Shapes, type Tensor } from './shapes.js';

export interface Work {
  /** Multiplications and additions of float32 matrix products. */
  floatOperations: number;
  /** Those of int8 matrix products. */
  integerOperations: number;
  /** Bytes that all kernels read and write. */
  bytes: number;
  kernels: number;
}

export const NO_WORK: Work = { floatOperations: 0, integerOperations: 0, bytes: 0, kernels: 0 };

/** The work of one after the other; `times` counts the second. */
export const addWork = (a: Work, b: Work, times = 1): Work => ({
  floatOperations: a.floatOperations + times * b.floatOperations,
  integerOperations: a.integerOperations + times * b.integerOperations,
  bytes: a.bytes + times * b.bytes,
  kernels: a.kernels + times * b.kernels,
});

/** Kernels that move nothing: they give another view of their operand, or look at its shape alone. */
const FREE = new Set(['Reshape', 'Squeeze', 'Shape', 'Constant', 'SequenceConstruct']);
/** Kernels that read of their first operand only what they give. */
const PICKS = new Set(['Gather', 'GatherElements', 'Slice']);

export function workOf(nodes: readonly EmittedNode[], shapes: Shapes): Work {
  const total = { ...NO_WORK };
  for (const node of nodes) {
    if (FREE.has(node.type)) continue;
    const inputs = node.inputs.flatMap((name) => (name === '' ? [] : [shapes.of(name)]));
    const outputs = node.outputs.flatMap((name) => (name === '' ? [] : [shapes.of(name)]));
    const written = sum(outputs.map(bytesOf));
    const read = PICKS.has(node.type)
      ? written + sum(inputs.slice(1).map(bytesOf))
      : sum(inputs.map(bytesOf));
    total.bytes += read + written;
    total.kernels += 1;
    const { kind, operations } = productOf(node, shapes, inputs, outputs);
    total[kind] += operations;
  }
  return total;
}

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

interface Product {
  kind: 'floatOperations' | 'integerOperations';
  operations: number;
}

const NONE: Product = { kind: 'floatOperations', operations: 0 };

function productOf(
  node: EmittedNode,
  shapes: Shapes,
  [a]: readonly Tensor[],
  [y]: readonly Tensor[],
): Product {
  if (a === undefined || y === undefined) return NONE;
  const inner = () => a.shape.at(transposed(node) ? -2 : -1)?.size ?? 0;
  switch (node.type) {
    case 'Gemm':
    case 'MatMul':
    case 'FusedMatMul':
      return { kind: 'floatOperations', operations: 2 * inner() * elementsOf(y) };
    case 'MatMulIntegerToFloat':
    case 'MatMulNBits':
      return { kind: 'integerOperations', operations: 2 * inner() * elementsOf(y) };
    case 'GroupQueryAttention': {
      // Scores and mixture, of the positions that the causal mask leaves.
      const { batch, heads, length, positions, head } = attentionSizes(node, shapes);
      const visible = length > 1 ? (length + 1) / 2 : positions;
      return { kind: 'floatOperations', operations: 4 * batch * heads * length * visible * head };
    }
    default:
      return NONE;
  }
}

const transposed = (node: EmittedNode) => integerOf(node, 'transA') === 1;

function attentionSizes(node: EmittedNode, shapes: Shapes) {
  const y = shapes.of(node.outputs[0] ?? '');
  const cache = node.inputs[3] ? shapes.of(node.inputs[3]) : undefined;
  const [batch = 0, length = 0, width = 0] = y.shape.map(({ size }) => size);
  const heads = integerOf(node, 'num_heads') ?? 1;
  const groups = integerOf(node, 'kv_num_heads') ?? heads;
  const head = width / heads;
  const positions = cache?.shape[2]?.size ?? length;
  return { batch, length, heads, groups, head, positions };
}

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

/** Buffers that a kernel allocates for itself while it runs, in bytes. */
export function scratchBytes(node: EmittedNode, shapes: Shapes): number[] {
  if (node.type !== 'GroupQueryAttention') return [];
  const { batch, length, heads, groups, head, positions } = attentionSizes(node, shapes);
  const qkv = batch * length * (heads + 2 * groups) * head * FLOAT;
  const cache = node.inputs[3]
    ? []
    : [batch * groups * length * head * FLOAT, batch * groups * length * head * FLOAT];
  // q, k and v by head, rotated; keys and values where there is no cache for them; the probabilities.
  return [qkv, qkv, ...cache, batch * heads * length * positions * FLOAT];
}

const PRODUCTS = new Set(['Gemm', 'MatMul', 'FusedMatMul', 'MatMulIntegerToFloat', 'MatMulNBits']);

/**
 * Bytes of the constant weights that a session holds: packed for products whose second factor they are, each once, and
 * mapped as they are for other kernels that read all of them.
 */
export function heldBytes(
  { constants }: DecodedProgram,
  nodes: readonly EmittedNode[],
): { packed: number; mapped: number } {
  const packed = new Set<string>();
  const mapped = new Set<string>();
  for (const { type, inputs } of nodes) {
    for (const [at, name] of inputs.entries()) {
      const constant = constants.get(name);
      if (constant === undefined || constant.shape.length < 2) continue;
      if (PRODUCTS.has(type) && at === 1) packed.add(name);
      else if (!PICKS.has(type) && constant.external) mapped.add(name);
    }
  }
  const bytes = (names: ReadonlySet<string>) =>
    [...names].reduce((total, name) => {
      const { type = 0, shape = [] } = constants.get(name) ?? {};
      return total + elementBytes(type) * shape.reduce((a, b) => a * b, 1);
    }, 0);
  return { packed: bytes(packed), mapped: bytes(mapped) };
}
