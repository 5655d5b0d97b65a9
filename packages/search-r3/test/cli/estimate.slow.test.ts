/** What long commands say about memory and time before they load anything, and their refusal. */
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { runInProcess } from './in-process.js';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'estimate-'));
  await writeFile(join(folder, 'plan.yaml'), 'data: atlas\npretrain:\n  steps: 7\n');
});
afterAll(() => rm(folder, { recursive: true }));

const cli = (...argv: string[]) => runInProcess(argv, folder, '');

test('inspect --plan shows the parts of a command, without a run folder', async () => {
  const { status, stdout } = await cli('inspect', '--plan', 'plan.yaml', '--for', 'pretrain');
  expect(status).toBe(0);
  expect(stdout).toMatch(/^pretrain: \d+ MB .*, about \d+ seconds?\n {2}memory {2}/);
  expect(stdout).toMatch(/memory {2}\d+ MB, which fits: the (machine|control group) has [\d.]+ GB available/);
  const { stdout: json } = await cli('inspect', '--plan', 'plan.yaml', '--json', '--set', 'sft.steps=1');
  const value = JSON.parse(json);
  expect(value).toMatchObject({ kind: 'plan', path: 'plan.yaml', command: 'train' });
  expect(value.stages.map(({ stage }: { stage: string }) => stage)).toEqual(['pretrain', 'sft', 'rl']);
  expect(await readdir(folder)).toEqual(['plan.yaml']);
});

test('inspect takes a path or a plan, and a plan what the command needs', async () => {
  expect(await cli('inspect')).toMatchObject({
    status: 2,
    stderr: 'error: inspect: expected a path or --plan, found neither.\n',
  });
  expect(await cli('inspect', '--plan', 'plan.yaml', '--for', 'rl')).toMatchObject({
    status: 2,
    stderr: 'error: settings: model: expected the folder of a model, found nothing.\n',
  });
});

test('a command that cannot fit is refused before it starts, unless it is to be tried', async () => {
  const shape = ['hiddenSize=32768', 'intermediateSize=131072', 'heads=128'];
  const huge = shape.flatMap((setting) => ['--set', `pretrain.model.${setting}`]);
  const argv = ['pretrain', '--data', 'atlas', '--out', 'huge', '--steps', '1', ...huge];
  const refused = await cli(...argv);
  expect(refused.status).toBe(2);
  expect(refused.stderr).toMatch(/^estimated: \d+\.\d GB of memory, about [\d.]+ /);
  expect(refused.stderr).toMatch(
    /error: settings: expected a command that fits into the .* found one that takes about .*\. A smaller model would fit\. To try it anyway: --ignore-memory\./,
  );
  expect(await readdir(folder)).not.toContain('huge');
});

test('a command that fits says so in one line', async () => {
  const argv = ['pretrain', '--config', 'plan.yaml', '--out', 'run', '--steps', '1'];
  const { status, stderr } = await cli(...argv);
  expect(status).toBe(0);
  expect(stderr).toMatch(/^estimated: \d+ MB of memory, about \d+ seconds?\n/);
  const quiet = await cli(...argv, '--overwrite', '--quiet');
  expect(quiet).toMatchObject({ status: 0, stderr: '' });
});
