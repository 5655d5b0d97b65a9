/** Renders `docs/guides/options.md`: every setting with its type, its default, what it does and when to change it. */
import { fileURLToPath } from 'node:url';
import { trainSettings } from '../pipeline/config.js';
import { type Setting, settingsOf } from './settings.js';

/** Path of the committed guide, relative to the compiled file. */
export const OPTIONS_PATH = fileURLToPath(new URL('../../../../docs/guides/options.md', import.meta.url));

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
  const settings = settingsOf(trainSettings);
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
  const rows = settings.map(({ key, takes, default: value, ifUnset = '', description = '', when = '' }) =>
    `| ${code(key)} | ${takes} | ${value === undefined ? ifUnset : shown(value)} | ${description} | ${when} |`
      .replaceAll('<|', '<\\|')
      .replaceAll('|>', '\\|>'),
  );
  return [
    '| Option | values | default | what it does | when to change it |',
    '| --- | --- | --- | --- | --- |',
    ...rows,
  ].join('\n');
}

const code = (text: string) => `\`${text}\``;
const shown = (value: unknown) => code(typeof value === 'string' ? value : JSON.stringify(value));
