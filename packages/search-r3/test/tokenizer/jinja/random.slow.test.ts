import { expect, test } from 'vitest';
import { NO_PYTHON, pythonWith } from '../../support/python.js';
import { scaled } from '../../support/scale.js';
import { expressionCases, templateCases, withConversations } from './cases.js';
import { compare, mark, renderByOracle, runOracle } from './oracle.js';

const LONG = { timeout: 1_200_000 };
const python = pythonWith('transformers', 'jinja2');

test.skipIf(python === undefined)(`templates of TRL 1.16.0 and generated ones (${NO_PYTHON})`, LONG, () => {
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
