import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';

const trainer = join(import.meta.dirname, 'fixtures/trainer.mjs');
let parent: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kill-'));
});
afterAll(() => rm(parent, { recursive: true }));

interface Ending {
  code: number | null;
  signal: string | null;
  steps: number[];
}

/** Runs the trainer and sends `signal` some milliseconds after it has printed `steps` lines. */
function train(
  path: string,
  resume: boolean,
  kill?: { signal: NodeJS.Signals; steps: number; after: number },
) {
  return new Promise<Ending>((resolve) => {
    const child = spawn(process.execPath, [trainer, path, ...(resume ? ['resume'] : [])], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    let sent = false;
    child.stdout.on('data', (chunk) => {
      printed += chunk;
      if (kill === undefined || sent || printed.split('\n').length <= kill.steps) return;
      sent = true;
      setTimeout(() => child.kill(kill.signal), kill.after);
    });
    child.on('exit', (code, signal) => {
      resolve({ code, signal, steps: printed.trim().split('\n').map(Number) });
    });
  });
}

/** Everything a run leaves, except the timings. */
async function outcome(path: string): Promise<Record<string, string>> {
  const files: Record<string, string> = {};
  for (const name of (await readdir(path, { recursive: true, withFileTypes: true })).filter((e) =>
    e.isFile(),
  )) {
    const file = join(name.parentPath, name.name);
    files[file.slice(path.length + 1)] = (await readFile(file, 'latin1')).replaceAll(
      /"timings":\{[^}]*\}/g,
      '',
    );
  }
  return files;
}

let straight: Record<string, string>;
beforeAll(async () => {
  const path = join(parent, 'straight');
  expect(await train(path, false)).toMatchObject({
    code: 0,
    steps: Array.from({ length: 24 }, (_, i) => i + 1),
  });
  straight = await outcome(path);
});

test('an uninterrupted run leaves the expected files', () => {
  expect(Object.keys(straight).sort()).toEqual([
    'checkpoints/step-20/first',
    'checkpoints/step-20/manifest.json',
    'checkpoints/step-20/state.bin',
    'checkpoints/step-24/first',
    'checkpoints/step-24/manifest.json',
    'checkpoints/step-24/state.bin',
    'completions.jsonl',
    'config.yaml',
    'events.jsonl',
  ]);
});

test.each(Array.from({ length: scaled(2, 12) }, (_, i) => i + 1))(
  'killed three times at random moments and resumed, a run ends the same (%i)',
  async (seed) => {
    const path = join(parent, `killed-${seed}`);
    const random = randomStream(seed, 'kill');
    for (let i = 0; i < 3; i++) {
      const kill = { signal: 'SIGKILL' as const, steps: 1 + random.integer(7), after: random.integer(40) };
      const ending = await train(path, i > 0 && existsSync(path), kill);
      expect(ending.signal).toBe('SIGKILL');
    }
    expect((await train(path, true)).code).toBe(0);
    expect(await outcome(path)).toEqual(straight);
  },
);

test('interrupted by SIGINT, a run saves its step, exits with 130 and ends the same when resumed', async () => {
  const path = join(parent, 'interrupted');
  const first = await train(path, false, { signal: 'SIGINT', steps: 7, after: 0 });
  expect(first.code).toBe(130);
  const done = first.steps.at(-1) ?? 0;
  expect(await readdir(join(path, 'checkpoints'))).toContain(`step-${done}`);
  expect(existsSync(join(path, '.lock'))).toBe(false);
  const second = await train(path, true);
  expect(second.steps[0]).toBe(done + 1);
  expect(await outcome(path)).toEqual(straight);
});
