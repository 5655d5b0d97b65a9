/**
 * Shapes of every tensor of a program for given sizes of its dimensions, those between the nodes of one operator
 * included. Shape operands that are computed at run time are computed here.
 */
import { factors } from '../dims.js';
import { DATA_TYPE } from '../emit.js';
import { type DecodedProgram, type EmittedNode, elementBytes, integerOf, integersOf } from './model.js';

/** A size, and the name by which ONNX Runtime knows that two sizes are equal; undefined where it does not know. */
export interface Size {
  readonly size: number;
  readonly name: string | undefined;
}

export interface Tensor {
  readonly type: number;
  readonly shape: readonly Size[];
}

/** Sizes of the symbols of a program. */
export type Sizes = Readonly<Record<string, number>>;

export const elementsOf = ({ shape }: Tensor): number => shape.reduce((total, { size }) => total * size, 1);
export const bytesOf = (tensor: Tensor): number => elementsOf(tensor) * elementBytes(tensor.type);

const fixed = (size: number): Size => ({ size, name: String(size) });
const unnamed = (size: number): Size => ({ size, name: undefined });

/** @throws RangeError for a symbol without a size. */
function resolved(dim: number | string, sizes: Sizes): Size {
  if (typeof dim === 'number') return fixed(dim);
  const { coefficient, symbols } = factors(dim);
  let size = coefficient;
  for (const symbol of symbols) {
    const value = sizes[symbol];
    if (value === undefined) throw new RangeError(`cost: expected a size for the dimension ${symbol}`);
    size *= value;
  }
  return { size, name: dim };
}

const sameSizes = (a: readonly Size[], b: readonly Size[]) =>
  a.length === b.length && a.every(({ size }, axis) => size === b[axis]?.size);

const text = (shape: readonly Size[]) => `[${shape.map(({ size }) => size).join(', ')}]`;

/** What is known of the tensors computed so far. */
export class Shapes {
  readonly #tensors = new Map<string, Tensor>();
  /** Elements of small integer tensors. */
  readonly #integers = new Map<string, readonly number[]>();
  readonly #declared: DecodedProgram['declared'];
  readonly #sizes: Record<string, number>;
  readonly #resolved = new Map<number | string, Size>();

  constructor({ inputs, constants, declared }: DecodedProgram, sizes: Sizes) {
    this.#declared = declared;
    this.#sizes = { ...sizes };
    for (const [name, { type, shape }] of inputs) {
      this.#tensors.set(name, { type, shape: shape.map((dim) => this.#size(dim)) });
    }
    for (const [name, { type, shape, integers }] of constants) {
      this.#tensors.set(name, { type, shape: shape.map(fixed) });
      if (integers !== undefined) this.#integers.set(name, integers);
    }
  }

  of(name: string): Tensor {
    const tensor = this.#tensors.get(name);
    if (tensor === undefined) throw new Error(`internal: the shape of ${name} is not known yet`);
    return tensor;
  }

  #size(dim: number | string): Size {
    const known = this.#resolved.get(dim) ?? resolved(dim, this.#sizes);
    this.#resolved.set(dim, known);
    return known;
  }

  /** Infers the results of a node whose operands are known. */
  infer(node: EmittedNode): void {
    const inputs = node.inputs.map((name) => (name === '' ? undefined : this.of(name)));
    const integers = (at: number) => this.#integers.get(node.inputs[at] ?? '');
    const rule = RULES[node.type];
    if (rule === undefined) throw new Error(`internal: no rule for the shape of ${node.type}`);
    const types = rule({ node, inputs, integers });
    for (const [i, name] of node.outputs.entries()) {
      const type = types[i];
      if (name === '' || type === undefined) continue;
      const known = this.#declared.get(name)?.shape.map((dim, axis) => {
        // A size that the program itself gives a name to, such as that of joined parts.
        const given = type.shape[axis]?.size;
        if (typeof dim === 'string' && given !== undefined && this.#sizes[dim] === undefined) {
          if (factors(dim).symbols[0] === dim) this.#sizes[dim] = given;
        }
        return this.#size(dim);
      });
      if (known !== undefined && !sameSizes(known, type.shape)) {
        throw new Error(`internal: ${node.type} gives ${text(type.shape)}, declared as ${text(known)}`);
      }
      this.#tensors.set(name, { type: type.type, shape: known ?? type.shape });
    }
    const [first] = types;
    const empty = first !== undefined && elementsOf(first) === 0;
    const values = empty ? [] : integerValue(node, inputs, integers);
    if (values !== undefined) this.#integers.set(node.outputs[0] ?? '', values);
  }
}

interface Context {
  node: EmittedNode;
  inputs: readonly (Tensor | undefined)[];
  /** The elements of the operand at this place, if it is a small integer tensor that is known. */
  integers: (at: number) => readonly number[] | undefined;
}

type Rule = (context: Context) => readonly (Tensor | undefined)[];

/** Elements of the first result of a node that computes with shapes. */
function integerValue(
  node: EmittedNode,
  inputs: Context['inputs'],
  integers: Context['integers'],
): readonly number[] | undefined {
  switch (node.type) {
    case 'Shape': {
      const sizes = (inputs[0]?.shape ?? []).map(({ size }) => size);
      return sizes.slice(integerOf(node, 'start') ?? 0, integerOf(node, 'end') ?? sizes.length);
    }
    case 'Constant':
      return integersOf(node, 'value_ints');
    case 'Squeeze':
    case 'Cast':
      return integers(0);
    case 'Concat': {
      const parts = node.inputs.map((_, at) => integers(at));
      return parts.includes(undefined) ? undefined : parts.flatMap((part) => part ?? []);
    }
    case 'Mul': {
      const [a, b] = [integers(0), integers(1)];
      return a && b && a.map((value, i) => value * (b[i] ?? b[0] ?? 1));
    }
    default:
      return undefined;
  }
}

function operand({ node, inputs }: Context, at: number): Tensor {
  const tensor = inputs[at];
  if (tensor === undefined) throw new Error(`internal: ${node.type} lacks its operand ${at}`);
  return tensor;
}

function values({ node, integers }: Context, at: number): readonly number[] {
  const known = integers(at);
  if (known === undefined) throw new Error(`internal: operand ${at} of ${node.type} is not known`);
  return known;
}

const axisOf = (axis: number, rank: number) => (axis < 0 ? axis + rank : axis);

function broadcast(tensors: readonly Tensor[]): Size[] {
  const rank = Math.max(...tensors.map(({ shape }) => shape.length));
  return Array.from({ length: rank }, (_, i) => {
    const dims = tensors.flatMap(({ shape }) => shape[shape.length - rank + i] ?? []);
    return dims.find(({ size }) => size !== 1) ?? dims[0] ?? fixed(1);
  });
}

/** All operands broadcast; of the type of the first, or of the one given. */
const elementwise =
  (type?: number, first = 0): Rule =>
  (context) => {
    const tensors = context.inputs.flatMap((input) => input ?? []);
    return [{ type: type ?? operand(context, first).type, shape: broadcast(tensors) }];
  };

const like: Rule = (context) => [operand(context, 0)];
const typed =
  (type: number): Rule =>
  (context) => [{ type, shape: operand(context, 0).shape }];

/** Products over the last two axes, each factor transposed if an attribute says so. */
const product =
  (flags: { a?: string; b?: string } = {}): Rule =>
  (context) => {
    const [a, b] = [operand(context, 0), operand(context, 1)];
    const flag = (name?: string) => name !== undefined && integerOf(context.node, name) === 1;
    const rows = a.shape.at(flag(flags.a) ? -1 : -2) ?? fixed(1);
    const columns = b.shape.at(flag(flags.b) ? -2 : -1) ?? fixed(1);
    return [{ type: DATA_TYPE.float32, shape: [...a.shape.slice(0, -2), rows, columns] }];
  };

const reduced: Rule = (context) => {
  const { type, shape } = operand(context, 0);
  const axes = (context.integers(1) ?? [...shape.keys()]).map((axis) => axisOf(axis, shape.length));
  const keep = integerOf(context.node, 'keepdims') !== 0;
  return [
    { type, shape: shape.flatMap((size, i) => (axes.includes(i) ? (keep ? [fixed(1)] : []) : [size])) },
  ];
};

const reshaped: Rule = (context) => {
  const x = operand(context, 0);
  const target = values(context, 1);
  const shape = target.map((size, i) => (size === 0 ? (x.shape[i] ?? fixed(0)) : fixed(size)));
  const inferred = target.indexOf(-1);
  if (inferred >= 0) {
    const others = shape.reduce((total, { size }, i) => (i === inferred ? total : total * size), 1);
    shape[inferred] = unnamed(elementsOf(x) / others);
  }
  return [{ type: x.type, shape }];
};

const squeezed: Rule = (context) => {
  const { type, shape } = operand(context, 0);
  const axes = context.integers(1)?.map((axis) => axisOf(axis, shape.length));
  const kept = shape.filter(({ size }, i) => (axes === undefined ? size !== 1 : !axes.includes(i)));
  return [{ type, shape: kept }];
};

const gathered: Rule = (context) => {
  const [{ type, shape }, indices] = [operand(context, 0), operand(context, 1)];
  const axis = axisOf(integerOf(context.node, 'axis') ?? 0, shape.length);
  return [{ type, shape: [...shape.slice(0, axis), ...indices.shape, ...shape.slice(axis + 1)] }];
};

const joined: Rule = (context) => {
  const { type, shape } = operand(context, 0);
  const axis = axisOf(integerOf(context.node, 'axis') ?? 0, shape.length);
  const total = context.inputs.reduce((sum, input) => sum + (input?.shape[axis]?.size ?? 0), 0);
  return [{ type, shape: shape.with(axis, unnamed(total)) }];
};

const parted: Rule = (context) => {
  const { type, shape } = operand(context, 0);
  const axis = axisOf(integerOf(context.node, 'axis') ?? 0, shape.length);
  return values(context, 1).map((size) => ({ type, shape: shape.with(axis, fixed(size)) }));
};

const sliced: Rule = (context) => {
  const { type, shape } = operand(context, 0);
  const result = [...shape];
  const axes = context.integers(3) ?? [...values(context, 1).keys()];
  for (const [i, axis] of axes.entries()) {
    const size = shape[axis]?.size ?? 0;
    const [start, end] = [values(context, 1)[i] ?? 0, values(context, 2)[i] ?? 0];
    result[axis] = fixed(Math.min(end < 0 ? end + size : end, size) - (start < 0 ? start + size : start));
  }
  return [{ type, shape: result }];
};

const expanded: Rule = (context) => {
  const x = operand(context, 0);
  const target = { type: x.type, shape: values(context, 1).map(unnamed) };
  return [{ type: x.type, shape: broadcast([x, target]) }];
};

const range: Rule = (context) => {
  const [start = 0, limit = 0, step = 1] = [0, 1, 2].map((at) => values(context, at)[0]);
  const size = Math.max(0, Math.ceil((limit - start) / step));
  return [{ type: operand(context, 0).type, shape: [unnamed(size)] }];
};

const most: Rule = (context) => {
  const { type, shape } = operand(context, 0);
  const top = shape.with(-1, fixed(values(context, 1)[0] ?? 0));
  return [
    { type, shape: top },
    { type: DATA_TYPE.int64, shape: top },
  ];
};

const RULES: Readonly<Record<string, Rule | undefined>> = {
  Abs: like,
  Add: elementwise(),
  ArgMax: (context) => [{ type: DATA_TYPE.int64, shape: operand(context, 0).shape.slice(0, -1) }],
  Cast: (context) => [
    { type: integerOf(context.node, 'to') ?? DATA_TYPE.float32, shape: operand(context, 0).shape },
  ],
  Clip: like,
  Concat: joined,
  Constant: ({ node }) => [
    { type: DATA_TYPE.int64, shape: [fixed(integersOf(node, 'value_ints')?.length ?? 0)] },
  ],
  ConstantOfShape: (context) => [{ type: DATA_TYPE.float32, shape: values(context, 0).map(unnamed) }],
  Div: elementwise(),
  Equal: elementwise(DATA_TYPE.bool),
  Exp: like,
  Expand: expanded,
  Floor: like,
  FusedMatMul: product({ a: 'transA', b: 'transB' }),
  Gather: gathered,
  GatherElements: (context) => [{ type: operand(context, 0).type, shape: operand(context, 1).shape }],
  Gemm: product({ a: 'transA', b: 'transB' }),
  Greater: elementwise(DATA_TYPE.bool),
  GreaterOrEqual: elementwise(DATA_TYPE.bool),
  GroupQueryAttention: (context) => {
    const q = operand(context, 0);
    const heads = integerOf(context.node, 'num_heads') ?? 0;
    const packed = context.inputs[1] === undefined ? 2 * (integerOf(context.node, 'kv_num_heads') ?? 0) : 0;
    const width = ((q.shape.at(-1)?.size ?? 0) * heads) / (heads + packed);
    return [{ type: q.type, shape: q.shape.with(-1, fixed(width)) }, context.inputs[3], context.inputs[4]];
  },
  Identity: like,
  LessOrEqual: elementwise(DATA_TYPE.bool),
  Log: like,
  LogSoftmax: like,
  MatMul: product(),
  MatMulIntegerToFloat: product(),
  MatMulNBits: (context) => [
    {
      type: DATA_TYPE.float32,
      shape: operand(context, 0).shape.with(-1, fixed(integerOf(context.node, 'N') ?? 0)),
    },
  ],
  Max: elementwise(),
  Min: elementwise(),
  Mul: elementwise(),
  Neg: like,
  QuantizeLinear: typed(DATA_TYPE.uint8),
  QuickGelu: like,
  Range: range,
  Reciprocal: like,
  ReduceMax: reduced,
  ReduceMean: reduced,
  ReduceMin: reduced,
  ReduceSum: reduced,
  Relu: like,
  Reshape: reshaped,
  RotaryEmbedding: like,
  Round: like,
  ScatterElements: like,
  // It holds a copy of nothing.
  SequenceConstruct: () => [{ type: DATA_TYPE.int64, shape: [fixed(0)] }],
  Shape: ({ node, inputs }) => {
    const rank = inputs[0]?.shape.length ?? 0;
    const length = (integerOf(node, 'end') ?? rank) - (integerOf(node, 'start') ?? 0);
    return [{ type: DATA_TYPE.int64, shape: [fixed(length)] }];
  },
  Sigmoid: like,
  SimplifiedLayerNormalization: (context) => {
    const x = operand(context, 0);
    return [x, { type: DATA_TYPE.float32, shape: x.shape.with(-1, fixed(1)) }];
  },
  SkipSimplifiedLayerNormalization: (context) => {
    const x = operand(context, 0);
    return [x, undefined, undefined, x];
  },
  Slice: sliced,
  Softmax: like,
  Split: parted,
  Sqrt: like,
  Squeeze: squeezed,
  Sub: elementwise(),
  Tanh: like,
  TopK: most,
  Transpose: (context) => {
    const { type, shape } = operand(context, 0);
    const order = integersOf(context.node, 'perm') ?? [...shape.keys()].reverse();
    return [{ type, shape: order.map((axis) => shape[axis] ?? fixed(0)) }];
  },
  Where: elementwise(undefined, 1),
};
