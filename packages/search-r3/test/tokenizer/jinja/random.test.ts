import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { NO_PYTHON, pythonWith } from '../../support/python.js';
import { scaled } from '../../support/scale.js';
import { CONVERSATIONS } from './conversations.js';
import { type Case, compare, mark, renderByOracle, runOracle } from './oracle.js';
import { ExpressionGenerator, PREAMBLE } from './random-expressions.js';
import { TemplateGenerator } from './random-templates.js';

const LONG = { timeout: 1_200_000 };
const python = pythonWith('transformers', 'jinja2');
const GIVEN = {
  tokens: { bos_token: '<s>', eos_token: '</s>' },
  variables: { mode: 'on', level: 3, share: 0.5, thinking: false },
};

function withConversations(template: string): Case[] {
  return CONVERSATIONS.map((messages, i) => ({
    template,
    messages,
    ...GIVEN,
    add_generation_prompt: i % 2 === 0,
  }));
}

function expressionCases(seed: number, count: number): Case[] {
  return Array.from({ length: count }, (_, i) => {
    const expression = new ExpressionGenerator(randomStream(seed, 'expression', i)).expression(1 + (i % 3));
    const template = `${PREAMBLE}{{ ${expression} }}`;
    return { template, messages: [{ role: 'user', content: 'x' }], ...GIVEN, add_generation_prompt: false };
  });
}

function templateCases(seed: number, count: number): Case[] {
  return Array.from({ length: count }, (_, i) =>
    withConversations(new TemplateGenerator(randomStream(seed, 'template', i)).template()),
  ).flat();
}

const SETS: Readonly<Record<string, Case[]>> = {
  expressions: expressionCases(1, 400),
  templates: templateCases(1, 64),
};

/**
 * Marks of what transformers 5.24.0 and Jinja2 3.1.6 render on Python 3.11. Made anew by
 * `RECORD=1 npx vitest run packages/search-r3/test/tokenizer/jinja/random.test.ts`.
 */
const RECORDED = join(import.meta.dirname, 'recorded.json');
if (process.env.RECORD !== undefined && python !== undefined) {
  const marks = Object.entries(SETS).map(([name, cases]) => [
    name,
    renderByOracle(python, cases).map(mark).join(' '),
  ]);
  writeFileSync(RECORDED, `${JSON.stringify(Object.fromEntries(marks), null, 2)}\n`);
}
const recorded = JSON.parse(readFileSync(RECORDED, 'utf8')) as Record<string, string>;

describe('generated templates render as transformers renders them, or are refused', () => {
  test.each(Object.keys(SETS))('%s, as recorded', (name) => {
    const { refused, differences } = compare(SETS[name] ?? [], recorded[name]?.split(' ') ?? []);
    expect(differences).toEqual([]);
    expect(refused).toBeLessThan(0.03);
  });

  test.skipIf(python === undefined)(`live, with those of TRL 1.16.0 (${NO_PYTHON})`, LONG, () => {
    if (python === undefined) return;
    const trl = runOracle(python, 'trl_templates.py', '') as { name: string; text: string }[];
    const generated = [...expressionCases(2, scaled(300, 20_000)), ...templateCases(2, scaled(30, 1500))];
    const cases = [...trl.flatMap(({ text }) => withConversations(text)), ...generated];
    const { refused, differences } = compare(cases, renderByOracle(python, cases).map(mark));
    console.log(
      `${trl.length} templates of TRL and generated ones: ${cases.length} renderings, ${(100 * refused).toFixed(2)} % refused`,
    );
    expect(differences).toEqual([]);
    expect(refused).toBeLessThan(0.03);
  });
});
