/** Weights that are no numbers are refused by tensor and place, before anything is made of them. */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { assertFinite, assertFiniteElements, loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { expect, test } from 'vitest';
import { cli, writeCollection, writeModel } from '../cli/tiny.js';

test.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('%d', async (value) => {
  const weights = new Map([
    ['first', { shape: [3], data: Float32Array.of(1, -0, 3e38) }],
    ['second', { shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) }],
  ]);
  expect(() => assertFinite({ weights }, 'model')).not.toThrow();
  weights.get('second')!.data[2] = value;
  expect(() => assertFinite({ weights }, 'model')).toThrow(
    `model: second: expected finite weights, found ${value} at element 2.`,
  );
});

test('wherever it is, counted from the start of the tensor', () => {
  for (let at = 0; at < 11; at++) {
    const data = Float32Array.from({ length: 11 }, (_, i) => (i % 2 === 0 ? 3e38 : -3e38));
    data[at] = Number.NaN;
    for (const start of [0, 1000]) {
      expect(() => assertFiniteElements(data, { source: 'model', field: 'table', start })).toThrow(
        `model: table: expected finite weights, found NaN at element ${start + at}.`,
      );
    }
  }
});

const SMALL = ['sft.batchSize=4', 'rl.queriesPerStep=2'].flatMap((setting) => ['--set', setting]);

test('commands refuse such a model and write nothing', async () => {
  const cwd = await mkdtemp(join(tmpdir(), 'finite-'));
  await writeCollection(join(cwd, 'data'));
  const model = await loadCheckpoint(await writeModel(join(cwd, 'good')));
  model.weights.get('model.norm.weight')!.data[1] = Number.NaN;
  await saveCheckpoint(join(cwd, 'bad'), model);
  for (const argv of [
    ['embed', '--model', 'bad', 'soup'],
    ['index', '--model', 'bad', '--data', 'data', '--out', 'out'],
    ['sft', '--base', 'bad', '--data', 'data', '--out', 'out', '--batch-size', '4'],
    ['rl', '--model', 'bad', '--data', 'data', '--out', 'out', '--queries-per-step', '2'],
    ['train', '--base', 'bad', '--data', 'data', '--out', 'out', ...SMALL],
  ]) {
    const { status, stdout, stderr } = await cli(argv, { cwd });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(
      /^error: bad: model\.norm\.weight: expected finite weights, found NaN at element 1\.\n$/m,
    );
  }
  expect(await readdir(cwd)).not.toContain('out');
  await rm(cwd, { recursive: true });
});
