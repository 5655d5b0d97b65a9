/**
 * The order in which ONNX Runtime (1.30) runs the nodes of a program, and which of them it runs at all. It folds what
 * depends on constants alone, drops identities, and sorts the rest depth first, from the last leaf, going into the
 * operand whose node comes last in the list.
 */
import type { DecodedProgram, EmittedNode } from './model.js';

export interface OrderedProgram {
  /** Computed when the session is created. */
  readonly folded: readonly EmittedNode[];
  /** Computed in every run, in this order. */
  readonly nodes: readonly EmittedNode[];
}

/** Name of what a dropped identity passes on, by the name that others use. */
type Renamed = ReadonlyMap<string, string>;

function consumersOf(nodes: readonly EmittedNode[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of nodes.flatMap(({ inputs }) => inputs)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}

/**
 * Identities are dropped, except one whose result is an output and whose argument has other uses: it is a copy. Where it
 * has none, the node before writes the output.
 */
function withoutIdentities({ outputs }: DecodedProgram, nodes: readonly EmittedNode[]): EmittedNode[] {
  const uses = consumersOf(nodes);
  const produced = new Set(nodes.flatMap((node) => node.outputs));
  const renamed = new Map<string, string>();
  const kept = nodes.filter(({ type, inputs: [from = ''], outputs: [to = ''] }) => {
    if (type !== 'Identity') return true;
    if (!outputs.has(to)) renamed.set(to, from);
    else if (uses.get(from) === 1 && produced.has(from) && !outputs.has(from)) renamed.set(from, to);
    else return true;
    return false;
  });
  return kept.map((node) => ({
    ...node,
    inputs: node.inputs.map((name) => follow(renamed, name)),
    outputs: node.outputs.map((name) => follow(renamed, name)),
  }));
}

function follow(renamed: Renamed, name: string): string {
  let current = name;
  for (let next = renamed.get(current); next !== undefined; next = renamed.get(current)) current = next;
  return current;
}

/** The nodes that depend on nothing but constants, in an order in which they can be computed, and the others as listed. */
function folded({ constants, nodes }: DecodedProgram): { folded: EmittedNode[]; others: EmittedNode[] } {
  const known = new Set([...constants].filter(([, { external }]) => !external).map(([name]) => name));
  // Listed backwards: operands come after what reads them.
  const found = nodes.toReversed().filter(({ inputs, outputs, type }) => {
    const constant = type !== 'SequenceConstruct' && inputs.every((name) => name === '' || known.has(name));
    if (constant) for (const name of outputs) known.add(name);
    return constant;
  });
  const all = new Set(found);
  return { folded: found, others: nodes.filter((node) => !all.has(node)) };
}

/** What a session does with a program. */
export function ordered(program: DecodedProgram): OrderedProgram {
  const { folded: constant, others } = folded(program);
  const nodes = withoutIdentities(program, others);
  return { folded: constant, nodes: depthFirst(nodes) };
}

/** ONNX Runtime's `GraphViewer`: a reverse depth-first walk with a stack, operands sorted by the index of their node. */
function depthFirst(nodes: readonly EmittedNode[]): EmittedNode[] {
  const producer = new Map(nodes.flatMap(({ outputs }, i) => outputs.map((name) => [name, i] as const)));
  const operands = nodes.map(({ inputs }) =>
    [...new Set(inputs.flatMap((name) => producer.get(name) ?? []))].sort((a, b) => a - b),
  );
  const read = new Set(operands.flat());
  const stack = [...nodes.keys()].filter((i) => !read.has(i)).map((node) => ({ node, leaving: false }));
  const visited = new Set<number>();
  const order: EmittedNode[] = [];
  for (let entry = stack.pop(); entry !== undefined; entry = stack.pop()) {
    const { node, leaving } = entry;
    if (leaving) {
      order.push(nodes[node] as EmittedNode);
      continue;
    }
    if (visited.has(node)) continue;
    visited.add(node);
    stack.push({ node, leaving: true });
    for (const operand of operands[node] ?? []) {
      if (!visited.has(operand)) stack.push({ node: operand, leaving: false });
    }
  }
  return order;
}
