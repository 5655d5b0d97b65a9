/**
 * Programs as graphs: typed values and the nodes that compute them, in the order they were built, which is a
 * topological order. A graph does not know ONNX: each operator brings its own emission (`emit.ts`) and vector-Jacobian
 * product (`grad.ts`).
 */
import { canonicalShape, type Dim, formatShape, type Shape } from './dims.js';
import { ARRAY_TYPE, type Dtype, type TensorData, type TensorType } from './dtypes.js';
import type { Provider } from './provider.js';

/** A tensor in a program: an input, a constant or an output of a node. */
export interface Value extends TensorType {
  readonly id: number;
  readonly graph: Graph;
  /** Name of an input or constant; undefined for outputs of nodes. */
  readonly name: string | undefined;
  readonly node: Node | undefined;
}

/** A small tensor stored in the program itself. */
export interface Constant extends TensorType {
  readonly shape: readonly number[];
  readonly data: TensorData;
}

/** A large read-only tensor that ONNX Runtime maps from a file (a checkpoint) without a copy in JavaScript. */
export interface ExternalData {
  /** Path relative to the session's external-data folder. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
  /** How it is stored, the dtype of its value. Half formats need a `cast` to be computed with. */
  readonly storage: Exclude<Dtype, 'bool'>;
}

export type AttributeValue = number | string | readonly number[];

export interface NodeOptions {
  /** `com.microsoft` for ONNX Runtime's fused operators. Default: the ONNX domain. */
  domain?: 'com.microsoft';
  /** Attributes; numbers are integers. */
  attributes?: Record<string, AttributeValue>;
  /** Float attributes, which the protobuf distinguishes from integers. */
  floats?: Record<string, number>;
  /** Number of outputs or their names. Default: one output with a new name. */
  outputs?: number | readonly string[];
}

/** What operators emit ONNX nodes, constants and run-time sizes with; all are identified by name. */
export interface Emitter {
  /** What will run the program. Operators emit only nodes that it has kernels for. */
  readonly provider: Provider;
  /** The ONNX name of a value. */
  name(value: Value): string;
  /** Emits one ONNX node and returns the names of its outputs. */
  node(type: string, inputs: readonly string[], options?: NodeOptions): string[];
  /** Emits one ONNX node for a node of the graph, the usual case. */
  simple(node: Node, type: string, options?: Omit<NodeOptions, 'outputs'>): void;
  /** Emits a single node and returns its only output. */
  one(type: string, inputs: readonly string[], options?: NodeOptions): string;
  /** An int64 vector constant. */
  integers(values: readonly number[]): string;
  /** A float32 scalar constant. */
  float(value: number): string;
  /** A uint8 scalar constant. */
  byte(value: number): string;
  /**
   * Says that a kernel takes `indices` below `size`; negative ones count from the end if `wraps` is true. Sessions
   * check what is fed, if the provider's kernels do not.
   */
  bound(indices: Value, size: Dim, wraps: boolean): void;
  /** The run-time size of a dimension as an int64 vector of one element. */
  dimension(dim: Dim): string;
  /** A shape as an int64 vector known at run time. */
  shape(shape: Shape): string;
  /** The shape operand of a Reshape from `from` to `to`: a constant if 0 (copy) and -1 (infer) suffice. */
  reshapeTarget(from: Shape, to: Shape): string;
}

export type Values = readonly Value[];

/** How many values a tuple type admits: the one place where a list becomes a tuple. */
export interface Arity<T extends Values> {
  /** The names of the values, for errors. */
  readonly names: readonly string[];
  admits(values: Values): values is T;
}

/**
 * An operator with attributes `A` that maps the operands `I` to the results `O`: shape rule, ONNX emission and
 * vector-Jacobian product. `defineOperator` makes them from the names of operands and results.
 */
export interface Operator<A = unknown, I extends Values = Values, O extends Values = Values> {
  readonly name: string;
  readonly operands: Arity<I>;
  readonly results: Arity<O>;
  /**
   * How many of the results, from the first, can be differentiated. The rest are by-products for the vjp, through which
   * `gradients` refuses to differentiate.
   */
  readonly differentiable: number;
  /** Operands that the operator only waits for; their elements do not influence its results. */
  readonly inert?: readonly number[];
  /** Whether the results hold elements of the first operand and nothing else. */
  readonly rearranges?: boolean;
  infer(inputs: I, attributes: A): { readonly [K in keyof O]: TensorType };
  emit(context: Emitter, node: Node<A, I, O>): void;
  /**
   * Gradients with respect to the operands, given those of the results (undefined: not used by the loss). Operands for
   * which `needed[i]` is false may stay undefined. An operator without it stops the gradient (comparisons, indices).
   */
  vjp?(
    node: Node<A, I, O>,
    gradients: readonly (Value | undefined)[],
    needed: readonly boolean[],
  ): readonly (Value | undefined)[];
}

export interface Node<A = unknown, I extends Values = Values, O extends Values = Values> {
  readonly id: number;
  readonly operator: Operator<A, I, O>;
  readonly inputs: I;
  readonly attributes: A;
  readonly outputs: O;
  readonly segment: Segment | undefined;
}

/** Nodes whose results are recomputed in the backward pass instead of being kept (activation checkpointing). */
export interface Segment {
  readonly inputs: readonly Value[];
  readonly nodes: Node[];
}

/** A program under construction. Operators (`add`, `matmul`, ...) append to the graph of their arguments. */
export class Graph {
  readonly nodes: Node[] = [];
  readonly inputs: Value[] = [];
  readonly constants = new Map<Value, Constant>();
  readonly externals = new Map<Value, ExternalData>();
  readonly outputs = new Map<string, Value>();
  #nextId = 0;
  #segment: Segment | undefined;
  readonly #names = new Set<string>();

  /** A tensor that is fed at every run. */
  input(name: string, dtype: Dtype, shape: Shape): Value {
    this.#claim(name);
    const value = this.#value({ dtype, shape: canonicalShape(`input ${name}`, shape) }, name, undefined);
    this.inputs.push(value);
    return value;
  }

  /**
   * A tensor stored in the program: a scalar or a small table.
   * @throws TypeError if the array does not fit its dtype.
   */
  constant(constant: Constant): Value {
    canonicalShape('constant', constant.shape);
    if (!(constant.data instanceof ARRAY_TYPE[constant.dtype])) {
      throw new TypeError(
        `constant: expected ${constant.dtype} in ${ARRAY_TYPE[constant.dtype].name}, found ${constant.data.constructor.name}`,
      );
    }
    const size = constant.shape.reduce((a, b) => a * b, 1);
    if (size !== constant.data.length) {
      throw new RangeError(
        `constant: expected ${size} elements for ${formatShape(constant.shape)}, found ${constant.data.length}`,
      );
    }
    const value = this.#value(constant, `%constant_${this.#nextId}`, undefined);
    this.constants.set(value, constant);
    return value;
  }

  /** A float32 scalar constant. */
  scalar(value: number): Value {
    return this.constant({ dtype: 'float32', shape: [], data: Float32Array.of(value) });
  }

  /** A tensor in a file. It is frozen: taking gradients with respect to it throws. */
  external(name: string, shape: readonly number[], data: ExternalData): Value {
    this.#claim(name);
    canonicalShape(`external ${name}`, shape);
    const value = this.#value({ dtype: data.storage, shape }, name, undefined);
    this.externals.set(value, data);
    return value;
  }

  /** Names a result of the program. */
  output(name: string, value: Value): void {
    this.#claim(name);
    this.outputs.set(name, value);
  }

  /** Appends a node and returns its results; operators call this. */
  apply<A, I extends Values, O extends Values>(operator: Operator<A, I, O>, inputs: I, attributes: A): O {
    admit(operator.name, operator.operands, inputs);
    for (const input of inputs) {
      if (input.graph !== this) throw new Error(`${operator.name}: an argument belongs to another graph`);
    }
    const types = operator.infer(inputs, attributes);
    const outputs: Value[] = [];
    const id = this.nodes.length;
    const node: Node = { id, operator, inputs, attributes, outputs, segment: this.#segment };
    for (const type of types) outputs.push(this.#value(type, undefined, node));
    const results = admit(operator.name, operator.results, outputs);
    this.nodes.push(node);
    this.#segment?.nodes.push(node);
    return results;
  }

  /**
   * Runs `build` so that its results from `inputs` are recomputed in the backward pass instead of being kept: less
   * memory for about one more forward pass. Segments do not nest.
   */
  checkpoint<T>(inputs: readonly Value[], build: () => T): T {
    if (this.#segment !== undefined) throw new Error('checkpoint: segments do not nest');
    this.#segment = { inputs, nodes: [] };
    try {
      return build();
    } finally {
      this.#segment = undefined;
    }
  }

  /** Whether nodes are being added to a segment. */
  get checkpointing(): boolean {
    return this.#segment !== undefined;
  }

  /** Names that begin with % are reserved for emission. */
  #claim(name: string): void {
    if (name === '' || name.startsWith('%'))
      throw new Error(`graph: ${JSON.stringify(name)} is not a valid name`);
    if (this.#names.has(name)) throw new Error(`graph: the name ${name} is taken`);
    this.#names.add(name);
  }

  #value(type: TensorType, name: string | undefined, node: Node | undefined): Value {
    return { id: this.#nextId++, graph: this, dtype: type.dtype, shape: type.shape, name, node };
  }
}

/** The values as the tuple that an operator expects. @throws RangeError if there are too few or too many. */
function admit<T extends Values>(name: string, arity: Arity<T>, values: Values): T {
  if (arity.admits(values)) return values;
  throw new RangeError(`${name}: expected the values ${arity.names.join(', ')}, found ${values.length}`);
}
