/** The names of all options a schema knows, dotted: what a table of tests is held against. */
import { z } from 'zod';

interface Node {
  properties?: Record<string, Node>;
}

export function optionNames(schema: z.ZodType): string[] {
  const walk = (node: Node, path: readonly string[]): string[] =>
    Object.entries(node.properties ?? {}).flatMap(([name, inner]) => {
      const own = [...path, name];
      return inner.properties === undefined ? [own.join('.')] : walk(inner, own);
    });
  return walk(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Node, []);
}

/** The options named in a table, whose names may go on after a space. */
export const namesIn = (table: readonly (readonly [string, unknown])[]): string[] =>
  table.map(([name]) => name.split(/[ ,]/)[0] as string);
