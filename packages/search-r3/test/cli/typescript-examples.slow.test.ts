/** The examples of the repository, as a person runs them; each that needs the files of another runs that one first. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';

const examples = resolve(import.meta.dirname, '../../../../examples');
vi.setConfig({ testTimeout: 600_000 });

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'examples-'));
});
afterAll(() => rm(cwd, { recursive: true }));

interface Example {
  argv: string[];
  /** The example whose files it reads. */
  after?: string;
}

const EXAMPLES: Record<string, Example> = {
  'train-on-your-documents': { argv: ['own'] },
  embed: { argv: ['own/run/model', 'who makes hats in Elmo'], after: 'train-on-your-documents' },
  'concurrent-queries': { argv: ['own/run/model'], after: 'train-on-your-documents' },
  search: { argv: ['own/run/model', 'own/index'], after: 'train-on-your-documents' },
  'custom-reward': {
    argv: ['own/run/sft/model', 'own/collection', '2'],
    after: 'train-on-your-documents',
  },
};
const outputs = new Map<string, string>();

/** What an example prints; it runs once. */
function outputOf(name: string): string {
  const known = outputs.get(name);
  if (known !== undefined) return known;
  const { argv, after } = EXAMPLES[name]!;
  if (after !== undefined) outputOf(after);
  const script = join(examples, 'dist', `${name}.js`);
  const { status, stdout, stderr } = spawnSync(process.execPath, [script, ...argv], {
    cwd,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${name}.js: exit code ${status}\n${stderr}`);
  outputs.set(name, stdout);
  return stdout;
}

test('train-on-your-documents.ts leaves a model that has learned', () => {
  const output = outputOf('train-on-your-documents');
  expect(output).toMatch(/\nmodel: own\/run\/model\nreport: own\/run\/report\.html\n$/);
  // 24 test queries on 48 documents: by chance the mean reciprocal rank is 0.09.
  const [, direct] = /\ndirect +24 .*? (\d\.\d+) \[[\d., ]+\] +\d\.\d+ \[[\d., ]+\]\n/.exec(output) ?? [];
  expect(Number(direct)).toBeGreaterThan(0.15);
  // Stage 2 has something to learn from: some completions end with the embed token.
  expect(output).toMatch(/rl 6\/6 \{[^}]*embedded: (?:0\.\d*[1-9]|1)/);
});

test('embed.ts shows both embeddings of a query', () => {
  const output = outputOf('embed');
  expect(output).toMatch(/^48 numbers from \d+ tokens, cut to fit: false\nreasoning: .*\n/);
  expect(output.match(/direct -?[01]\.\d{3} {2}reasoned -?[01]\.\d{3} {2}The /g)).toHaveLength(2);
});

test('concurrent-queries.ts serves each caller as it asked', () => {
  const output = outputOf('concurrent-queries');
  const answers = output.matchAll(/^([a-z ]+): -?[01]\.\d{3} \(\d+ \+ (\d+) tokens\)$/gm);
  const written = new Map(Array.from(answers, ([, name, tokens]) => [name, Number(tokens)]));
  const callers = ['direct', 'four samples', 'own reasoning', 'reasoned', 'samples and direct'];
  expect([...written.keys()].sort()).toEqual(callers);
  expect(written.get('direct')).toBe(0);
  // With one seed, four samples are the same beside the direct vector.
  expect(written.get('four samples')).toBe(written.get('samples and direct'));
  expect(written.get('four samples')).toBeGreaterThanOrEqual(4);
  expect(output).toContain('\nimpatient: InterruptedError\n');
  expect(output).toMatch(/\nalong the way: (-?[01]\.\d\d ?){5,25}\n$/);
});

test('search.ts finds documents with their own fields', () => {
  const output = outputOf('search');
  expect(output).toMatch(/^6 documents, 0 cut to fit\n/);
  expect(output.match(/ {2}[123]\. -?[01]\.\d{3} hats-\d https:\/\/example\.org\/\w+\/hats\n/g)).toHaveLength(
    6,
  );
});

test('custom-reward.ts trains with a reward of its own', () => {
  const output = outputOf('custom-reward');
  expect(output.match(/^step [12]: mean reciprocal rank \d\.\d{3}; best: .*$/gm)).toHaveLength(2);
});

test('the guide explains the metrics that the run wrote, and no others', async () => {
  outputOf('train-on-your-documents');
  const guide = await readFile(join(examples, '../docs/guides/metrics.md'), 'utf8');
  const section = (title: string) => guide.split('\n## ').find((part) => part.startsWith(title)) ?? '';
  for (const [title, stage] of [
    ['Stage 1', 'sft'],
    ['Stage 2', 'rl'],
  ] as const) {
    const rows = section(title).split('\n');
    const named = (row: string, name: RegExp) => [...row.matchAll(name)].map(([, found = '']) => found);
    const explained = rows.flatMap((row) => named(row, /^\| `(\w+)` \|/g));
    const prose = rows.filter((row) => !row.startsWith('|')).flatMap((row) => named(row, /`(\w+\*?)`/g));
    const patterns = prose.map((name) => new RegExp(`^${name.replace('*', '.*')}$`));
    const lines = (await readFile(join(cwd, `own/run/${stage}/events.jsonl`), 'utf8')).trim().split('\n');
    const events = lines.map((line) => JSON.parse(line) as { type: string; metrics: Record<string, number> });
    const written = new Set(
      events.filter(({ type }) => type === 'step').flatMap(({ metrics }) => Object.keys(metrics)),
    );
    for (const name of explained) expect([...written], title).toContain(name);
    for (const name of written) {
      expect(
        explained.includes(name) || patterns.some((pattern) => pattern.test(name)),
        `${title}: ${name}`,
      ).toBe(true);
    }
  }
});

test('no example is left out', async () => {
  const all = (await readdir(examples)).filter((name) => name.endsWith('.ts'));
  expect(all.sort()).toEqual(
    Object.keys(EXAMPLES)
      .map((name) => `${name}.ts`)
      .sort(),
  );
});
