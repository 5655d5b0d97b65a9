/** Both stages, killed at any moment and resumed, end bit for bit where an uninterrupted run does. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';

const script = join(import.meta.dirname, 'fixtures/train.mjs');
let parent: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'kill-stages-'));
});
afterAll(() => rm(parent, { recursive: true }));

interface Ending {
  code: number | null;
  signal: string | null;
  /** Steps it printed, counted from 1. */
  steps: number[];
}

/** Runs a stage; kills it `after` milliseconds after it has printed `steps` lines. */
function train(
  stage: string,
  path: string,
  resume: boolean,
  kill?: { steps: number; after: number },
): Promise<Ending> {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, [script, stage, path, ...(resume ? ['resume'] : [])], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let printed = '';
    let sent = false;
    child.stdout.on('data', (chunk) => {
      printed += chunk;
      if (kill === undefined || sent || printed.split('\n').length <= kill.steps) return;
      sent = true;
      setTimeout(() => child.kill('SIGKILL'), kill.after);
    });
    child.on('close', (code, signal) => {
      const steps = printed.split('\n').flatMap((line) => (line === '' ? [] : [Number(line)]));
      resolve({ code, signal, steps });
    });
  });
}

/** Everything a run leaves: records without their timings, the rest by digest. */
async function outcome(path: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((each) => each.isFile())) {
    const file = join(entry.parentPath, entry.name);
    const bytes = await readFile(file);
    found[file.slice(path.length + 1)] = file.endsWith('.jsonl')
      ? bytes.toString('utf8').replaceAll(/"timings":\{[^}]*\}/g, '')
      : createHash('sha256').update(bytes).digest('hex');
  }
  return found;
}

const KILLS = scaled(2, 3);
const ROUNDS = Array.from({ length: scaled(1, 8) }, (_, round) => round);

describe.each(['sft', 'rl', 'selective', 'adapter'])('%s', (stage) => {
  let expected: Record<string, string>;
  beforeAll(async () => {
    const straight = join(parent, `${stage}-straight`);
    const whole = await train(stage, straight, false);
    expect(whole).toEqual({ code: 0, signal: null, steps: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] });
    expected = await outcome(straight);
    const trained = stage === 'adapter' ? 'trained.state' : 'model/model.safetensors';
    expect(Object.keys(expected)).toContain(`checkpoints/step-12/${trained}`);
    expect(Object.keys(expected)).toContain('checkpoints/step-12/optimizer.state');
  });

  test.each(ROUNDS)('killed at random moments and resumed, round %i', async (round) => {
    const path = join(parent, `${stage}-killed-${round}`);
    const random = randomStream(1 + round, 'kill', stage);
    const endings: Ending[] = [];
    for (let i = 0; i < KILLS; i++) {
      // Of 12 steps, saved every third: each run gets past a checkpoint and is hit within a step or between two.
      const kill = { steps: 2 + random.integer(2), after: random.integer(60) };
      endings.push(await train(stage, path, i > 0, kill));
    }
    endings.push(await train(stage, path, true));
    expect(endings.map(({ signal }) => signal)).toEqual([...Array(KILLS).fill('SIGKILL'), null]);
    expect(endings.at(-1)).toMatchObject({ code: 0 });
    // Steps after the last checkpoint are done again, none is left out.
    const done = new Set(endings.flatMap(({ steps }) => steps));
    expect(done.size).toBe(12);
    expect(await outcome(path)).toEqual(expected);
  });
});
