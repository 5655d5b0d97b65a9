/** Settings as their schemas describe them: for the guide to the options, and for the help of flags. */
import type { Option } from 'commander';
import type { z } from 'zod';
import { type SchemaNode, schemaTree } from '../run/schema-tree.js';
import type { SettingMeta } from '../run/setting-meta.js';

/** A setting, read from its schema. */
export interface Setting extends Partial<SettingMeta> {
  /** Dotted, as in `--set`. */
  key: string;
  /** The values it takes, in words. */
  takes: string;
  /** The only values it takes, or those of its list. */
  choices?: readonly (string | number)[];
  /** Undefined if there is none. */
  default: unknown;
}

/** All settings, in the order of the schema. */
export function settingsOf(schema: z.ZodType): Setting[] {
  const visit = (node: SchemaNode, path: readonly string[]): Setting[] =>
    node.properties === undefined && node.oneOf === undefined
      ? [settingOf(node, path.join('.'))]
      : Object.entries(propertiesOf(node)).flatMap(([key, inner]) => visit(inner, [...path, key]));
  return visit(schemaTree(schema), []);
}

function settingOf(node: SchemaNode, key: string): Setting {
  const { description, when, ifUnset } = node;
  const choices = node.enum ?? (node.items ? node.items.enum : undefined);
  return {
    key,
    takes: takes(node),
    default: node.default,
    ...(choices !== undefined && { choices }),
    ...(description !== undefined && { description }),
    ...(when !== undefined && { when }),
    ...(ifUnset !== undefined && { ifUnset }),
  };
}

/**
 * The help of a flag that sets `key`: the first sentence of its description, the values to choose from and the default,
 * worded as commander does.
 */
export function flagHelp(
  schema: z.ZodType,
  key: string,
  { negate, variadic }: Pick<Option, 'negate' | 'variadic'>,
): string {
  const setting = settingsOf(schema).find((candidate) => candidate.key === key);
  if (setting?.description === undefined) throw new Error(`internal: the setting ${key} has no description`);
  const does = asPhrase(setting.description);
  if (negate) return `do not ${does}`;
  const phrase = variadic ? `${does}, separated by spaces or commas` : does;
  const { choices = [], default: value, ifUnset } = setting;
  // A switch is off unless it is given.
  const given = value === undefined || value === false ? ifUnset && plain(ifUnset) : JSON.stringify(value);
  const notes = [
    ...(choices.length === 0 ? [] : [`choices: ${choices.map((one) => JSON.stringify(one)).join(', ')}`]),
    ...(given === undefined ? [] : [`default: ${given}`]),
  ];
  return notes.length === 0 ? phrase : `${phrase} (${notes.join(', ')})`;
}

/** The first sentence of a description as a phrase without Markdown. */
function asPhrase(description: string): string {
  const sentence = plain(/^.*?(?=\.(?:\s|$))/s.exec(description)?.[0] ?? description);
  const isAcronym = /^\p{Lu}{2}/u.test(sentence);
  return isAcronym ? sentence : `${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}`;
}

const plain = (markdown: string) => markdown.replaceAll('`', '');

/** The properties of all variants of an object. The defaults of the object win over those of its properties. */
function propertiesOf({
  properties = {},
  oneOf = [],
  default: given,
}: SchemaNode): Record<string, SchemaNode> {
  const found: Record<string, SchemaNode> = {};
  for (const form of [{ properties }, ...oneOf]) {
    for (const [key, inner] of Object.entries(form.properties ?? {})) {
      const constants = inner.const === undefined ? {} : { enum: [...(found[key]?.enum ?? []), inner.const] };
      const value = (given as Record<string, unknown> | undefined)?.[key] ?? inner.default;
      found[key] = { ...inner, ...constants, default: value };
    }
  }
  return found;
}

function takes(node: SchemaNode): string {
  if (node.enum !== undefined) return node.enum.map((value) => code(String(value))).join(', ');
  if (node.prefixItems !== undefined) return `[${node.prefixItems.map(takes).join(', ')}]`;
  if (node.items) return `list of ${takes(node.items)}`;
  if (Array.isArray(node.type)) return node.type.map((type) => takes({ ...node, type })).join(', ');
  if (typeof node.additionalProperties === 'object') {
    return `names, each with ${takes(node.additionalProperties)}`;
  }
  switch (node.type) {
    case 'integer':
      return `whole number${range(node, true)}`;
    case 'number':
      return `number${range(node, false)}`;
    case 'boolean':
      return '`true`, `false`';
    default:
      return 'text';
  }
}

function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: SchemaNode, whole: boolean): string {
  const known = (limit: number | undefined) =>
    limit !== undefined && Math.abs(limit) < Number.MAX_SAFE_INTEGER;
  const parts = [
    known(minimum) ? `from ${minimum}` : undefined,
    known(exclusiveMinimum)
      ? whole
        ? `from ${(exclusiveMinimum as number) + 1}`
        : `above ${exclusiveMinimum}`
      : undefined,
    known(maximum) ? `to ${maximum}` : undefined,
    known(exclusiveMaximum) ? `below ${exclusiveMaximum}` : undefined,
  ].filter((part) => part !== undefined);
  return parts.length === 0 ? '' : ` ${parts.join(' ')}`;
}

const code = (text: string) => `\`${text}\``;
