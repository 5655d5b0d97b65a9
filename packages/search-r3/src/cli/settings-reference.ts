/** Renders `docs/guides/options.md`: every setting with its type, its default, what it does and when to change it. */
import { fileURLToPath } from 'node:url';
import { z } from 'zod';
import { trainSettings } from '../pipeline/index.js';
import { SETTINGS_GUIDE } from './settings-guide.js';

/** Path of the committed guide, relative to the compiled file. */
export const OPTIONS_PATH = fileURLToPath(new URL('../../../../docs/guides/options.md', import.meta.url));

/** The parts of JSON Schema used here. */
interface Node {
  type?: string | readonly string[];
  properties?: Record<string, Node>;
  /** Variants, each with a different constant property. */
  oneOf?: readonly Node[];
  const?: string | number;
  enum?: readonly (string | number)[];
  items?: Node | false;
  additionalProperties?: Node | false;
  prefixItems?: readonly Node[];
  default?: unknown;
  minimum?: number;
  maximum?: number;
  exclusiveMinimum?: number;
  exclusiveMaximum?: number;
}

/** A setting, read from its schema. */
export interface Setting {
  /** Dotted, as in `--set`. */
  key: string;
  /** The values it takes, in words. */
  takes: string;
  /** Undefined if there is none. */
  default: unknown;
}

/** All settings, in the order of the schema. */
export function settingsOf(schema: z.ZodType = trainSettings): Setting[] {
  const visit = (node: Node, path: readonly string[]): Setting[] =>
    node.properties === undefined && node.oneOf === undefined
      ? [{ key: path.join('.'), takes: takes(node), default: node.default }]
      : Object.entries(propertiesOf(node)).flatMap(([key, inner]) => visit(inner, [...path, key]));
  return visit(z.toJSONSchema(schema, { io: 'input', unrepresentable: 'any' }) as Node, []);
}

/** The properties of all variants of an object. The defaults of the object win over those of its properties. */
function propertiesOf({ properties = {}, oneOf = [], default: given }: Node): Record<string, Node> {
  const found: Record<string, Node> = {};
  for (const form of [{ properties }, ...oneOf]) {
    for (const [key, inner] of Object.entries(form.properties ?? {})) {
      const constants = inner.const === undefined ? {} : { enum: [...(found[key]?.enum ?? []), inner.const] };
      const value = (given as Record<string, unknown> | undefined)?.[key] ?? inner.default;
      found[key] = { ...inner, ...constants, default: value };
    }
  }
  return found;
}

function takes(node: Node): string {
  if (node.enum !== undefined) return node.enum.map((value) => code(String(value))).join(', ');
  if (node.prefixItems !== undefined) return `[${node.prefixItems.map(takes).join(', ')}]`;
  if (node.items) return `list of ${takes(node.items)}`;
  if (Array.isArray(node.type)) return node.type.map((type) => takes({ ...node, type })).join(', ');
  if (node.additionalProperties) return `names, each with ${takes(node.additionalProperties)}`;
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

function range({ minimum, maximum, exclusiveMinimum, exclusiveMaximum }: Node, whole: boolean): string {
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

const SECTIONS = [
  [
    'Stage 1',
    'sft.',
    'Cross-entropy, KL, InfoNCE and a triplet margin, on the direct and the reasoned embedding.',
  ],
  ['Stage 2', 'rl.', 'GRPO on the reasoning, with a contrastive term on the embedding.'],
  ['Queries and validation', /^(queries|validation)\./, 'Which queries each stage learns from.'],
  ['The run', /^[^.]+$/, ''],
  ['Prompts', 'prompts.', 'Prompts belong to the model; an index remembers them.'],
  ['Pre-training', 'pretrain.', 'Runs only without `base`.'],
  ['Evaluation', 'evaluate.', ''],
  ['Embedding, indexing and searching', /^(embed|index|search)\./, ''],
] as const;

/** The guide as Markdown. */
export function renderOptions(): string {
  const settings = settingsOf();
  const parts = SECTIONS.map(([title, which, about]) => {
    const own = settings.filter(({ key }) =>
      typeof which === 'string' ? key.startsWith(which) : which.test(key),
    );
    return [`## ${title}`, ...(about === '' ? [] : [about]), table(own)].join('\n\n');
  });
  return `${[
    '# Options',
    '<!-- Rendered from the schemas by packages/search-r3/src/cli/settings-reference.ts; do not edit. -->',
    'One YAML file serves all commands: `search-r3 train --config FILE`. A dotted key stands for nested sections: `sft.temperature` is `sft: { temperature: 0.05 }` in the file, `--set sft.temperature=0.05` on the command line, and `{ sft: { temperature: 0.05 } }` in `train()`.',
    'Change one thing at a time, with `validation.every` set, and compare over two seeds. Differences smaller than the interval that `evaluate` prints are chance. [Reading the metrics](metrics.md) explains the figures of a run.',
    ...parts,
  ].join('\n\n')}\n`;
}

function table(settings: readonly Setting[]): string {
  const rows = settings.map(({ key, takes: what, default: value }) => {
    const { does = '', when = '' } = SETTINGS_GUIDE[key] ?? {};
    return `| ${code(key)} | ${what} | ${shown(value)} | ${does} | ${when} |`
      .replaceAll('<|', '<\\|')
      .replaceAll('|>', '\\|>');
  });
  return [
    '| Option | values | default | what it does | when to change it |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

const code = (text: string) => `\`${text}\``;
const shown = (value: unknown) =>
  value === undefined ? '' : code(typeof value === 'string' ? value : JSON.stringify(value));
