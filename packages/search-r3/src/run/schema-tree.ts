/** What a zod schema accepts, as a JSON Schema tree that does not depend on the schema's wrappers. */
import { z } from 'zod';
import type { SettingMeta } from './setting-meta.js';

/** The parts of a JSON Schema node that are used, and what `.meta()` adds. */
export interface SchemaNode extends Partial<SettingMeta> {
  /** In a schema that contains itself: `#` is the whole, `#/$defs/name` a part of it. */
  $ref?: string;
  $defs?: Record<string, SchemaNode>;
  type?: string | readonly string[];
  properties?: Record<string, SchemaNode>;
  items?: SchemaNode | false;
  prefixItems?: readonly SchemaNode[];
  additionalProperties?: SchemaNode | boolean;
  anyOf?: readonly SchemaNode[];
  oneOf?: readonly SchemaNode[];
  allOf?: readonly SchemaNode[];
  const?: string | number;
  enum?: readonly (string | number)[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

const trees = new WeakMap<z.ZodType, SchemaNode>();

/** The tree of what `schema` accepts as input. */
export function schemaTree(schema: z.ZodType): SchemaNode {
  const known = trees.get(schema);
  if (known !== undefined) return known;
  const tree = z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as SchemaNode;
  trees.set(schema, tree);
  return tree;
}

function branches(node: SchemaNode): SchemaNode[] {
  const inner = [...(node.anyOf ?? []), ...(node.oneOf ?? []), ...(node.allOf ?? [])];
  return [node, ...inner.flatMap(branches)];
}

function children(node: SchemaNode, key: PropertyKey): SchemaNode[] {
  return branches(node).flatMap((branch) => {
    const other = typeof branch.additionalProperties === 'object' ? branch.additionalProperties : undefined;
    const named = branch.properties?.[String(key)] ?? other;
    return [named, /^\d+$/.test(String(key)) ? branch.items || undefined : undefined].filter(
      (node) => node !== undefined,
    );
  });
}

function resolved(node: SchemaNode, root: SchemaNode): SchemaNode {
  if (node.$ref === undefined) return node;
  return root.$defs?.[node.$ref.slice('#/$defs/'.length)] ?? root;
}

/** The nodes that a value at `path` may match, with unions expanded. */
export function nodesAt(schema: z.ZodType, path: readonly PropertyKey[]): SchemaNode[] {
  const root = schemaTree(schema);
  let nodes = [root];
  for (const key of path) {
    nodes = nodes.flatMap((node) => children(node, key)).map((node) => resolved(node, root));
  }
  return nodes.flatMap(branches);
}

/** The keys that `schema` accepts at `path`. */
export function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  return [...new Set(nodesAt(schema, path).flatMap((node) => Object.keys(node.properties ?? {})))];
}

/** The dotted path of the first key named `key` at any level. */
export function findKey(schema: z.ZodType, key: string): string | undefined {
  const visit = (node: SchemaNode, path: string[]): string | undefined => {
    for (const branch of branches(node)) {
      for (const [name, inner] of Object.entries(branch.properties ?? {})) {
        const found = name === key ? [...path, name].join('.') : visit(inner, [...path, name]);
        if (found !== undefined) return found;
      }
    }
    return undefined;
  };
  return visit(schemaTree(schema), []);
}
