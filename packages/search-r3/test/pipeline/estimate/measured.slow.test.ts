/** The estimate of a command against what a process of its own takes. `npm run bench -- estimate` has more of them. */
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { basisOf, estimate, planSettings } from 'search-r3/pipeline';
import { afterEach, beforeEach, expect, test } from 'vitest';

const MAIN = resolve(import.meta.dirname, '../../../dist/cli/main.js');
/** Writes the peak of a process to stderr when it ends, in KiB. */
const REPORT = `data:text/javascript,process.on('exit',()=>process.stderr.write('PEAK '+process.resourceUsage().maxRSS))`;

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'measured-'));
});
afterEach(() => rm(folder, { recursive: true }));

test.skipIf(process.platform !== 'linux')('memory of pre-training, within 15 %', async () => {
  const shape = { hiddenSize: 256, intermediateSize: 704, layers: 6, heads: 8 };
  const settings = planSettings.parse({
    data: 'atlas',
    pretrain: { steps: 2, batchSize: 150, model: shape },
  });
  const { peak } = await estimate('pretrain', settings, await basisOf('pretrain', settings));
  const set = Object.entries(shape).flatMap(([name, size]) => ['--set', `pretrain.model.${name}=${size}`]);
  const argv = [
    'pretrain',
    '--data',
    'atlas',
    '--out',
    join(folder, 'run'),
    '--steps',
    '2',
    '--batch-size',
    '150',
  ];
  const { status, stderr } = spawnSync(process.execPath, ['--import', REPORT, MAIN, ...argv, ...set], {
    encoding: 'utf8',
  });
  expect(status, stderr).toBe(0);
  const taken = 1024 * Number(/PEAK (\d+)$/.exec(stderr)?.[1]);
  // Most of it follows from the settings.
  expect(taken).toBeGreaterThan(500e6);
  expect(Math.abs(peak / taken - 1), `${peak} estimated, ${taken} taken`).toBeLessThan(0.15);
});
