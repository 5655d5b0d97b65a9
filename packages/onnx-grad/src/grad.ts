/**
 * Reverse-mode differentiation: appends the nodes that compute the gradients of a scalar to its graph. Values that do
 * not depend on a requested source get no gradient, so frozen weights cost no backward work.
 */
import { formatShape } from './dims.js';
import type { Graph, Node, Segment, Value } from './graph.js';
import { add, barrier } from './ops/elementwise.js';
import { scatterAdd, scatterAddOperator } from './ops/gather.js';
import { gemm, gemmOperator } from './ops/matmul.js';
import { zeros, zerosOperator } from './ops/shape.js';

/** Which arguments of a node are among `values` and influence its results. */
function leading({ operator, inputs }: Node, values: ReadonlySet<Value>): boolean[] {
  return inputs.map((input, i) => values.has(input) && !operator.inert?.includes(i));
}

/** The values that depend on one of `sources`. */
function dependents(graph: Graph, sources: readonly Value[]): Set<Value> {
  const result = new Set(sources);
  for (const node of graph.nodes) {
    if (node.operator.vjp !== undefined && leading(node, result).includes(true)) {
      for (const output of node.outputs) result.add(output);
    }
  }
  return result;
}

const isPlainProduct = (node: Node | undefined): boolean =>
  node?.operator === (gemmOperator as Node['operator']) && node.inputs.length === 2;

const isScatter = (node: Node | undefined): boolean =>
  node?.operator === (scatterAddOperator as Node['operator']) &&
  node.inputs[0]?.node?.operator === (zerosOperator as Node['operator']);

/**
 * Adds up the contributions to one value. A plain matrix product takes the sum so far as its additive operand, which is
 * free in the kernel; a separate addition would pass over memory once more. Scatters come last: that of an embedding
 * table ends the backward pass, and a product that waited for it (of a tied head) would keep its factors until then.
 */
function accumulate(contributions: readonly Value[]): Value | undefined {
  const products: Value[] = [];
  const scatters: Value[] = [];
  let total: Value | undefined;
  for (const value of contributions) {
    if (isPlainProduct(value.node)) products.push(value);
    else if (isScatter(value.node)) scatters.push(value);
    else total = total === undefined ? value : add(total, value);
  }
  for (const value of products) {
    const node = value.node as Node<{ transA: boolean; transB: boolean }>;
    const [a, b] = node.inputs as [Value, Value];
    total = total === undefined ? value : gemm(a, b, { ...node.attributes, c: total });
  }
  for (const value of scatters) {
    const node = value.node as Node<{ axis: number }>;
    const [, indices, updates] = node.inputs as [Value, Value, Value];
    total = total === undefined ? value : scatterAdd(total, indices, updates, node.attributes.axis);
  }
  return total;
}

/** Recomputes a checkpointed segment behind barriers; maps its values to the recomputed ones. */
function recompute(graph: Graph, segment: Segment, after: Value): Map<Value, Value> {
  const twins = new Map<Value, Value>();
  for (const input of segment.inputs) twins.set(input, barrier(input, after));
  for (const node of segment.nodes) {
    const inputs = node.inputs.map((input) => twins.get(input) ?? input);
    graph.apply(node.operator, inputs, node.attributes).forEach((output, i) => {
      twins.set(node.outputs[i] as Value, output);
    });
  }
  return twins;
}

function checkSources(loss: Value, sources: readonly Value[]): void {
  const { graph } = loss;
  if (graph.checkpointing) {
    throw new Error('gradients: expected no open checkpoint; differentiate after the segment is built');
  }
  if (loss.shape.length !== 0 || loss.dtype !== 'float32') {
    throw new RangeError(
      `gradients: expected a float32 scalar, found ${loss.dtype} ${formatShape(loss.shape)}`,
    );
  }
  for (const source of sources) {
    const name = source.name ?? `the value ${source.id}`;
    if (source.graph !== graph) throw new Error(`gradients: ${name} belongs to another graph`);
    if (source.dtype !== 'float32') {
      throw new TypeError(`gradients: expected float32 sources, found ${source.dtype} for ${name}`);
    }
    if (graph.externals.has(source)) throw new TypeError(`gradients: ${name} is read-only external data`);
  }
}

/** The gradients with respect to the inputs of a node. @throws Error if a needed one does not exist. */
function pullBack(
  node: Node,
  outgoing: readonly (Value | undefined)[],
  needed: readonly boolean[],
): (Value | undefined)[] {
  const { name, vjp, differentiable } = node.operator;
  const refused = outgoing.findIndex(
    (gradient, i) => gradient !== undefined && i >= (differentiable ?? Infinity),
  );
  if (refused >= 0)
    throw new Error(`gradients: ${name} cannot be differentiated through its output ${refused}`);
  const incoming = vjp?.(node, outgoing, needed) ?? [];
  for (const [i, wanted] of needed.entries()) {
    if (wanted && incoming[i] === undefined) {
      throw new Error(`gradients: ${name} has no gradient with respect to its argument ${i}`);
    }
  }
  return incoming;
}

/**
 * If a source has other uses than this product (a tied head), its gradient is complete only at the end of the backward
 * pass. ONNX Runtime would compute the product's contribution there and keep both factors until then. So the
 * contribution is added to the sum so far, and the pass continues into the other argument only after that.
 */
function inTurn(
  node: Node,
  incoming: readonly (Value | undefined)[],
  sources: readonly Value[],
  forward: readonly Node[],
  contributions: Map<Value, Value[]>,
): readonly (Value | undefined)[] {
  const at = incoming.findIndex((gradient, i) => {
    const input = node.inputs[i] as Value;
    if (!isPlainProduct(gradient?.node) || !sources.includes(input)) return false;
    return forward.filter(({ inputs }) => inputs.includes(input)).length > 1;
  });
  if (at < 0) return incoming;
  const source = node.inputs[at] as Value;
  const sum = accumulate([...(contributions.get(source) ?? []), incoming[at] as Value]) as Value;
  contributions.delete(source);
  return incoming.map((gradient, i) => {
    if (i === at) return sum;
    const isSource = sources.includes(node.inputs[i] as Value);
    return gradient === undefined || isSource ? gradient : barrier(gradient, sum);
  });
}

/**
 * The gradients of `loss` (a float32 scalar) with respect to `sources`, in their order: inputs, constants or
 * intermediate values. A source that the loss does not depend on gets zeros, and so does one behind an operator without
 * a gradient (comparisons, `cast`, `max`, `stopGradient`).
 * @throws RangeError if the loss is not a scalar, TypeError if a source is not float32 or is external data, Error if an
 * operator on the way cannot be differentiated.
 */
export function gradients(loss: Value, sources: readonly Value[]): Value[] {
  const { graph } = loss;
  checkSources(loss, sources);
  const reached = dependents(graph, sources);
  const contributions = new Map<Value, Value[]>([[loss, [graph.scalar(1)]]]);
  const recomputed = new Map<Segment, Map<Value, Value>>();
  const forward = graph.nodes.slice();

  for (const node of forward.reverse()) {
    if (node.operator.vjp === undefined || !node.outputs.some((output) => contributions.has(output)))
      continue;
    const needed = leading(node, reached);
    if (!needed.includes(true)) continue;
    const outgoing = node.outputs.map((output) => accumulate(contributions.get(output) ?? []));
    for (const [i, output] of node.outputs.entries()) {
      const gradient = outgoing[i];
      if (gradient !== undefined && sources.includes(output)) contributions.set(output, [gradient]);
      else contributions.delete(output);
    }
    let actual = node;
    if (node.segment !== undefined) {
      const after = outgoing.find((gradient) => gradient !== undefined) as Value;
      const twins = recomputed.get(node.segment) ?? recompute(graph, node.segment, after);
      recomputed.set(node.segment, twins);
      actual = {
        ...node,
        inputs: node.inputs.map((input) => twins.get(input) ?? input),
        outputs: node.outputs.map((output) => twins.get(output) ?? output),
      };
    }
    const incoming = pullBack(actual, outgoing, needed);
    inTurn(node, incoming, sources, forward, contributions).forEach((gradient, i) => {
      const input = node.inputs[i] as Value;
      if (gradient === undefined || !needed[i]) return;
      const known = contributions.get(input);
      if (known === undefined) contributions.set(input, [gradient]);
      else known.push(gradient);
    });
  }
  return sources.map((source) => accumulate(contributions.get(source) ?? []) ?? zeros(graph, source.shape));
}
