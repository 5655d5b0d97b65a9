import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pythonWith } from '../../support/python.js';
import { expressionCases, templateCases } from './cases.js';
import { type Case, compare, mark, renderByOracle } from './oracle.js';

const SETS: Readonly<Record<string, Case[]>> = {
  expressions: expressionCases(1, 400),
  templates: templateCases(1, 64),
};

/**
 * Marks of what transformers 5.24.0 and Jinja2 3.1.6 render on Python 3.11. Made anew by
 * `RECORD=1 npx vitest run packages/search-r3/test/tokenizer/jinja/random.test.ts`.
 */
const RECORDED = join(import.meta.dirname, 'recorded.json');
if (process.env.RECORD !== undefined) {
  const python = pythonWith('transformers', 'jinja2') ?? 'python3';
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
});
