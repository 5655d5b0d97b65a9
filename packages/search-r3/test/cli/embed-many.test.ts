/** `embed` of more texts than are embedded at once: rows come as they are made. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Embedder } from 'search-r3/embed';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, tinyCollection, tinyPolicy, writeModel } from './tiny.js';

interface Row {
  id: string;
  vector: number[];
}

/** What the embedder makes at once. */
const PIECE = 1024;
const COUNT = 5 * PIECE + 3;

const { corpus } = tinyCollection();
const TEXTS = Array.from({ length: COUNT }, (_, i) => corpus[i % corpus.length]?.text ?? '');

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-embed-'));
  await writeModel(join(cwd, 'model'));
  const rows = TEXTS.map((text, i) => `${JSON.stringify({ id: `t${i}`, text })}\n`);
  await writeFile(join(cwd, 'many.jsonl'), rows.join(''));
});
afterAll(() => rm(cwd, { recursive: true }));

const EMBED = ['embed', '-m', 'model', '--role', 'document', '-f', 'many.jsonl'];

const rowsOf = (stdout: string): Row[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

/** So many rows, by their ids. */
const idsTo = (count: number) => Array.from({ length: count }, (_, i) => `t${i}`);

test('all are those of one call of the library, counted through; --json makes one document of them', async () => {
  const embedder = await Embedder.create(tinyPolicy());
  const expected = await embedder.embed(TEXTS, { role: 'document' });
  await embedder.dispose();
  const { status, stdout, stderr } = await cli(EMBED, { cwd });
  expect(status).toBe(0);
  expect(stderr).toContain(`texts ${COUNT}/${COUNT} (100%)`);
  const rows = rowsOf(stdout);
  expect(rows.map(({ id }) => id)).toEqual(idsTo(COUNT));
  for (const [i, { vector }] of rows.entries()) {
    if (i % 97 === 0) expect(Float32Array.from(vector)).toEqual(expected[i]?.vector);
  }
  const json = await cli([...EMBED, '--json', '--quiet'], { cwd });
  expect(json.stdout).toBe(`[${stdout.trim().split('\n').join(',')}]\n`);
});

test.each([[[]], [['--json']]])('Ctrl-C %j: the rows that are finished stay', async (json) => {
  const { status, stdout, stderr } = await cli([...EMBED, ...json], {
    cwd,
    onResult: (child) => child.kill('SIGINT'),
  });
  expect(status).toBe(130);
  expect(stderr).not.toContain(`${COUNT}/${COUNT}`);
  const rows = json.length === 0 ? rowsOf(stdout) : (JSON.parse(stdout) as Row[]);
  expect(rows.length % PIECE).toBe(0);
  expect(rows.length).toBeGreaterThan(0);
  expect(rows.length).toBeLessThan(COUNT);
  expect(rows.map(({ id }) => id)).toEqual(idsTo(rows.length));
});

test('a reader that has seen enough ends the work', async () => {
  const { status, stderr } = await cli(EMBED, { cwd, onResult: (child) => child.stdout.destroy() });
  expect(status).toBe(0);
  expect(stderr).not.toMatch(/error|\(100%\)/);
});

test('a reader that is slow is waited for', async () => {
  const { status, stderr } = await cli(EMBED, {
    cwd,
    onResult: (child) => {
      child.stdout.pause();
      // Long enough to embed all that is left: it must not be.
      setTimeout(() => child.stdout.destroy(), 8000);
    },
  });
  expect(status).toBe(0);
  expect(stderr).not.toContain('(100%)');
});
