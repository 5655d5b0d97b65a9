/** The README's examples print what it says, and its table lists the operators. */
import { readFile } from 'node:fs/promises';
import * as engine from 'onnx-grad';
import { expect, test } from 'vitest';
import { runModule } from './support/child.js';

const readme = await readFile(new URL('../README.md', import.meta.url), 'utf8');
const blocks = (language: string): string[] =>
  Array.from(
    readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\`$`, 'gms')),
    ([, text]) => text as string,
  );

/** Splits text into numbers and the words around them. */
const NUMBER = /\d+(?:\.\d+)?/g;

const examples = blocks('js').map((source, i) => ({ source, expected: blocks('text')[i] as string }));

test.each(examples)('example %# prints what the README says', async ({ source, expected }) => {
  const { stdout } = await runModule(source);
  expect(stdout.replaceAll(NUMBER, '#')).toBe(expected.replaceAll(NUMBER, '#'));
  const numbers = (text: string) => Array.from(text.matchAll(NUMBER), ([digits]) => Number(digits));
  for (const [i, value] of numbers(stdout).entries()) {
    // Kernels round differently on other processors, and training amplifies that.
    const written = numbers(expected)[i] as number;
    expect(Math.abs(value - written), `${value}, written as ${written}`).toBeLessThan(0.02 * written + 0.01);
  }
});

test('each of the examples is followed by what it prints', () => {
  expect(examples).toHaveLength(2);
  expect(blocks('text')).toHaveLength(2);
});

test('the table lists every operator', () => {
  const rows = readme.split('## Operators')[1]?.split('## ')[0] ?? '';
  const listed = Array.from(
    rows.matchAll(/^\| (`.*?`) *\|/gm),
    ([, names]) => names?.match(/\w+/g) ?? [],
  ).flat();
  const others = [
    ...['VERSION', 'Graph', 'FeedError', 'Session', 'emit', 'dump', 'liveNodes', 'gradients'],
    ...['f32', 'i64', 'floats', 'product', 'quotient', 'factors', 'broadcast', 'axisSize'],
    ...['DeviceTensor', 'toDevice', 'ProviderError', 'defineOperator'],
    ...['sameShape', 'canonicalShape', 'formatShape', 'normalizeAxis'],
    ...['Rehearsal', 'addWork', 'NO_WORK'],
  ];
  expect([...listed, ...others].sort()).toEqual(Object.keys(engine).sort());
});

test('the version is that of the package', async () => {
  const manifest = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8')) as object;
  expect(manifest).toMatchObject({ name: 'onnx-grad', version: engine.VERSION });
});
