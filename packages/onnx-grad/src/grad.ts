/**
 * Reverse-mode differentiation: appends the nodes that compute the gradients of a scalar to its graph. Values that do
 * not depend on a requested source get no gradient, so frozen weights cost no backward work.
 */
import { formatShape } from './dims.js';
import type { Graph, Node, Segment, Value } from './graph.js';
import { applies } from './operator.js';
import { add } from './ops/elementwise.js';
import { scatterAdd, scatterAddOperator } from './ops/gather.js';
import { gemm, gemmOperator } from './ops/matmul.js';
import { barrier } from './ops/order.js';
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

/** The node as a matrix product without an additive operand, if it is one. */
function plainProduct(node: Node | undefined) {
  return applies(node, gemmOperator) && node.inputs.length === 2 ? node : undefined;
}

/** The node as a scatter into zeros, if it is one. */
function scatter(node: Node | undefined) {
  return applies(node, scatterAddOperator) && applies(node.inputs[0].node, zerosOperator) ? node : undefined;
}

/** A contribution, and how it joins a sum at less cost than an addition. */
interface Joining {
  readonly value: Value;
  join(total: Value): Value;
}

/**
 * Adds up the contributions to one value. A plain matrix product takes the sum so far as its additive operand, which is
 * free in the kernel; a separate addition would pass over memory once more. Scatters come last: that of an embedding
 * table ends the backward pass, and a product that waited for it (of a tied head) would keep its factors until then.
 */
function accumulate(contributions: readonly Value[]): Value | undefined {
  const products: Joining[] = [];
  const scatters: Joining[] = [];
  let total: Value | undefined;
  for (const value of contributions) {
    const product = plainProduct(value.node);
    const scattered = scatter(value.node);
    if (product !== undefined) {
      const [a, b] = product.inputs;
      products.push({ value, join: (c) => gemm(a, b, { ...product.attributes, c }) });
    } else if (scattered !== undefined) {
      const [, indices, updates] = scattered.inputs;
      scatters.push({ value, join: (x) => scatterAdd(x, indices, updates, scattered.attributes.axis) });
    } else {
      total = total === undefined ? value : add(total, value);
    }
  }
  for (const { value, join } of [...products, ...scatters]) total = total === undefined ? value : join(total);
  return total;
}

/** Recomputes a checkpointed segment behind barriers; maps its values to the recomputed ones. */
function recompute(graph: Graph, segment: Segment, after: Value): Map<Value, Value> {
  const twins = new Map<Value, Value>();
  for (const input of segment.inputs) twins.set(input, barrier(input, after));
  for (const node of segment.nodes) {
    const inputs = node.inputs.map((input) => twins.get(input) ?? input);
    const recomputed = graph.apply(node.operator, inputs, node.attributes);
    for (const [i, output] of node.outputs.entries()) twins.set(output, recomputed[i] ?? output);
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
): readonly (Value | undefined)[] {
  const { name, differentiable } = node.operator;
  const refused = outgoing.findIndex((gradient, i) => gradient !== undefined && i >= differentiable);
  if (refused >= 0)
    throw new Error(`gradients: ${name} cannot be differentiated through its output ${refused}`);
  const incoming = node.operator.vjp?.(node, outgoing, needed) ?? [];
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
  const uses = (value: Value) => forward.filter(({ inputs }) => inputs.includes(value)).length;
  for (const [at, source] of node.inputs.entries()) {
    const contribution = incoming[at];
    if (contribution === undefined || plainProduct(contribution.node) === undefined) continue;
    if (!sources.includes(source) || uses(source) < 2) continue;
    const sum = accumulate([...(contributions.get(source) ?? []), contribution]) ?? contribution;
    contributions.delete(source);
    return node.inputs.map((input, i) => {
      if (i === at) return sum;
      const gradient = incoming[i];
      return gradient === undefined || sources.includes(input) ? gradient : barrier(gradient, sum);
    });
  }
  return incoming;
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
    const after = outgoing.find((gradient) => gradient !== undefined);
    if (node.segment !== undefined && after !== undefined) {
      const twins = recomputed.get(node.segment) ?? recompute(graph, node.segment, after);
      recomputed.set(node.segment, twins);
      actual = {
        ...node,
        inputs: node.inputs.map((input) => twins.get(input) ?? input),
        outputs: node.outputs.map((output) => twins.get(output) ?? output),
      };
    }
    const incoming = pullBack(actual, outgoing, needed);
    const turned = inTurn(node, incoming, sources, forward, contributions);
    for (const [i, input] of node.inputs.entries()) {
      const gradient = turned[i];
      if (gradient === undefined || !needed[i]) continue;
      const known = contributions.get(input);
      if (known === undefined) contributions.set(input, [gradient]);
      else known.push(gradient);
    }
  }
  return sources.map((source) => accumulate(contributions.get(source) ?? []) ?? zeros(graph, source.shape));
}
