/** Graphs as text, short enough for an inline snapshot. */
import { liveNodes } from './emit.js';
import type { Graph, Value } from './graph.js';

/** One line per input and per node that the outputs need: `%7 f32[B, 4] = gemm(%1, w) transB`. */
export function dump(graph: Graph): string {
  const names = new Map<Value, string>();
  const name = (value: Value): string => {
    const known = names.get(value);
    if (known !== undefined) return known;
    const constant = graph.constants.get(value);
    const scalar = constant?.shape.length === 0 ? String(constant.data[0]) : undefined;
    const fresh = scalar ?? value.name ?? `%${names.size}`;
    names.set(value, fresh);
    return fresh;
  };
  const type = (value: Value) =>
    `${value.dtype === 'float32' ? 'f32' : value.dtype}[${value.shape.join(', ')}]`;
  const lines = graph.inputs.map((input) => `${name(input)}: ${type(input)}`);
  for (const node of liveNodes(graph)) {
    const inputs = node.inputs.map(name).join(', ');
    const results = node.outputs.map((output) => `${name(output)}: ${type(output)}`).join(', ');
    const attributes = Object.entries((node.attributes ?? {}) as Record<string, unknown>)
      .filter(([, value]) => value !== false)
      .map(([key, value]) => (value === true ? ` ${key}` : ` ${key}=${JSON.stringify(value)}`));
    lines.push(`${results} = ${node.operator.name}(${inputs})${attributes.join('')}`);
  }
  for (const [output, value] of graph.outputs) lines.push(`return ${output} = ${name(value)}`);
  return lines.join('\n');
}
