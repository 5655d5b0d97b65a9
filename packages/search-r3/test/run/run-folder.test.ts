import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { cp, mkdir, mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type CompletionRecord,
  completionSchema,
  InputError,
  isRunFolder,
  listCheckpoints,
  type RunEvent,
  RunFolder,
  readRecords,
  readRunFolder,
  runEventSchema,
} from 'search-r3/run';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

let parent: string;
let path: string;
beforeEach(async () => {
  parent = await mkdtemp(join(tmpdir(), 'run-'));
  path = join(parent, 'first');
});
afterEach(() => rm(parent, { recursive: true }));

const config = { steps: 9, sft: { temperature: 0.05, rate: 5e-7 }, seeds: [1, 2] };
const step = (n: number): RunEvent => ({
  type: 'step',
  stage: 'rl',
  step: n,
  metrics: { reward: n / 10 },
  timings: { rollout: 0.5 },
});
const completion = (n: number): CompletionRecord => ({
  step: n,
  queryId: 'q',
  query: 'food in Ürs',
  sample: 0,
  reasoning: `line\nbreak ${n}`,
  reward: 0.5,
  rank: 3,
  tokens: 7,
  outcome: 'embedded',
});
const content = (text: string) => (folder: string) => writeFile(join(folder, 'w.bin'), text);
const lines = async (name: string) => (await readFile(join(path, name), 'utf8')).split('\n').slice(0, -1);
const collect = async <T>(records: AsyncIterable<T>) => {
  const all: T[] = [];
  for await (const record of records) all.push(record);
  return all;
};

/** Runs steps `from`..`to` with a checkpoint at every multiple of `every`. */
async function work(run: RunFolder, from: number, to: number, every = 2): Promise<void> {
  for (let n = from; n <= to; n++) {
    run.events.append(step(n));
    for (let i = 0; i < n % 3; i++) run.completions.append(completion(n));
    if (n % every === 0) await run.saveCheckpoint(n, content(`weights ${n}`));
  }
}

describe('a new run', () => {
  test('holds the resolved config, its events and completions', async () => {
    const run = await RunFolder.create(path, config);
    expect(run.resumed).toBeUndefined();
    await work(run, 1, 3);
    await run.writeFile('report.html', '<p>');
    await run.close();
    expect((await readdir(path)).sort()).toEqual([
      'checkpoints',
      'completions.jsonl',
      'config.yaml',
      'events.jsonl',
      'report.html',
    ]);
    expect(await isRunFolder(path)).toBe(true);
    expect(await isRunFolder(parent)).toBe(false);
    const read = await readRunFolder(path);
    expect(read.config).toEqual(config);
    expect(await collect(readRecords(read.eventsPath, runEventSchema))).toEqual([step(1), step(2), step(3)]);
    const samples = await collect(readRecords(read.completionsPath, completionSchema));
    expect(samples).toEqual([completion(1), completion(2), completion(2)]);
  });

  test('an existing folder that is not empty is refused and left as it is', async () => {
    await mkdir(path);
    await writeFile(join(path, 'thesis.txt'), 'precious');
    await expect(RunFolder.create(path, config)).rejects.toThrow(
      /expected a new or empty folder, found thesis\.txt/,
    );
    await expect(RunFolder.create(path, config, { overwrite: true })).rejects.toThrow(
      /expected the config of a run/,
    );
    await expect(RunFolder.create(path, config, { resume: true })).rejects.toThrow(
      /expected the config of a run/,
    );
    await writeFile(join(path, 'config.yaml'), 'of: something else\n');
    await expect(RunFolder.create(path, config, { overwrite: true })).rejects.toThrow(
      /a file of another kind/,
    );
    expect((await readdir(path)).sort()).toEqual(['config.yaml', 'thesis.txt']);
    await rm(path, { recursive: true });
    await mkdir(path);
    await (await RunFolder.create(path, config)).close();
    await expect(RunFolder.create(path, config)).rejects.toThrow(/Resume that run .*, overwrite it/);
  });

  test('abandoned before its first step, it leaves nothing, not even parent folders', async () => {
    path = join(parent, 'runs/of/today');
    const run = await RunFolder.create(path, config);
    await run.writeFile('targets.json', '[]');
    await run.abandon();
    expect(await readdir(parent)).toEqual([]);

    await mkdir(path, { recursive: true });
    await (await RunFolder.create(path, config)).abandon();
    expect(await readdir(path)).toEqual([]);
  });

  test.each<[string, (run: RunFolder) => Promise<unknown>]>([
    ['a step', async (run) => run.events.append(step(1))],
    ['a checkpoint', (run) => run.saveCheckpoint(1, content('weights'))],
    ['a stage', () => mkdir(join(path, 'sft'))],
    ['a resumed run', () => Promise.resolve()],
  ])('abandoned with %s it stays', async (what, begin) => {
    if (what === 'a resumed run') await (await RunFolder.create(path, config)).close();
    const run = await RunFolder.create(path, config, { resume: what === 'a resumed run' });
    await begin(run);
    await run.abandon();
    expect(await isRunFolder(path)).toBe(true);
    await (await RunFolder.create(path, config, { resume: true })).close();
  });

  test('two at once: the second is refused with the id of the first process', async () => {
    const run = await RunFolder.create(path, config);
    await expect(RunFolder.create(path, config, { resume: true })).rejects.toThrow(`process ${process.pid}`);
    await run.close();
    await (await RunFolder.create(path, config, { resume: true })).close();
    expect(existsSync(join(path, '.lock'))).toBe(false);
  });

  test('overwriting removes the old run', async () => {
    const first = await RunFolder.create(path, config);
    await work(first, 1, 2);
    await first.writeFile('report.html', 'old');
    await first.close();
    const second = await RunFolder.create(path, { steps: 1 }, { overwrite: true });
    await second.close();
    expect(second.resumed).toBeUndefined();
    expect((await readdir(path)).sort()).toEqual(['completions.jsonl', 'config.yaml', 'events.jsonl']);
    expect(await readFile(join(path, 'events.jsonl'), 'utf8')).toBe('');
    expect((await readRunFolder(path)).config).toEqual({ steps: 1 });
  });

  test('contradictory and impossible options are refused', async () => {
    await expect(RunFolder.create(path, config, { resume: true, overwrite: true })).rejects.toThrow(
      InputError,
    );
    await expect(RunFolder.create(path, config, { keepCheckpoints: 0 })).rejects.toThrow(
      /at least 1, found 0/,
    );
    await expect(RunFolder.create(path, config, { resume: true })).rejects.toThrow(
      /a run to resume, found nothing/,
    );
    expect(await readdir(parent)).toEqual([]);
  });

  test('a metric that is not finite becomes null', async () => {
    const run = await RunFolder.create(path, config);
    run.events.append({ ...(step(1) as RunEvent & { type: 'step' }), metrics: { kl: Number.NaN, loss: 2 } });
    await run.close();
    const [event] = await collect(readRecords(join(path, 'events.jsonl'), runEventSchema));
    expect(event).toMatchObject({ metrics: { kl: null, loss: 2 } });
  });

  test('records never go back before the last step or checkpoint', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 2);
    expect(() => run.events.append(step(2))).toThrow(/expected a record of step 3 or later, found step 2/);
    run.events.append(step(5));
    expect(() => run.events.append(step(4))).toThrow(/step 5 or later/);
    await run.close();
  });
});

describe('checkpoints', () => {
  test('only the newest ones are kept, listed oldest first with their sizes', async () => {
    const run = await RunFolder.create(path, config, { keepCheckpoints: 3 });
    await work(run, 1, 10);
    await run.close();
    expect((await readdir(join(path, 'checkpoints'))).sort()).toEqual(['step-10', 'step-6', 'step-8']);
    const listed = await listCheckpoints(path);
    expect(listed.map(({ step, bytes }) => [step, bytes])).toEqual([
      [6, 9],
      [8, 9],
      [10, 10],
    ]);
  });

  test('a failure while filling one leaves no trace', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 2);
    const failing = run.saveCheckpoint(3, async (folder) => {
      await content('half')(folder);
      throw new Error('disk full');
    });
    await expect(failing).rejects.toThrow('disk full');
    await run.close();
    expect(await readdir(join(path, 'checkpoints'))).toEqual(['step-2']);
  });

  test('an incomplete copy is not mistaken for a checkpoint', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 4);
    await run.close();
    await truncate(join(path, 'checkpoints/step-4/w.bin'), 3);
    expect((await listCheckpoints(path)).map(({ step }) => step)).toEqual([2]);
    await rm(join(path, 'checkpoints/step-2/manifest.json'));
    expect(await listCheckpoints(path)).toEqual([]);
  });

  test('nested files count', async () => {
    const run = await RunFolder.create(path, config);
    await run.saveCheckpoint(0, async (folder) => {
      await mkdir(join(folder, 'model'));
      await writeFile(join(folder, 'model/a'), '12345');
    });
    await run.close();
    expect((await listCheckpoints(path))[0]?.bytes).toBe(5);
    await rm(join(path, 'checkpoints/step-0/model/a'));
    expect(await listCheckpoints(path)).toEqual([]);
  });
});

describe('resuming', () => {
  test('continues at the newest checkpoint: later and half-written lines are removed', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 5);
    await run.close();
    const whole = { events: await lines('events.jsonl'), completions: await lines('completions.jsonl') };
    const events = join(path, 'events.jsonl');
    await truncate(events, (await stat(events)).size - 9); // The end of a line is missing.
    const resumed = await RunFolder.create(path, config, { resume: true });
    expect(resumed.resumed?.step).toBe(4);
    expect(await readFile(join(resumed.resumed?.path ?? '', 'w.bin'), 'utf8')).toBe('weights 4');
    expect(await lines('events.jsonl')).toEqual(whole.events.slice(0, 4));
    expect(await lines('completions.jsonl')).toEqual(whole.completions.slice(0, 1 + 2 + 0 + 1));
    await work(resumed, 5, 7);
    await resumed.close();
    const straight = join(parent, 'straight');
    const other = await RunFolder.create(straight, config);
    await work(other, 1, 7);
    await other.close();
    for (const name of ['events.jsonl', 'completions.jsonl', 'config.yaml']) {
      expect(await readFile(join(path, name), 'utf8'), name).toBe(
        await readFile(join(straight, name), 'utf8'),
      );
    }
  });

  test('a checkpoint with one wrong bit is refused with the name of the file, until it is removed', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 4);
    await run.close();
    const newest = join(path, 'checkpoints/step-4');
    const weights = join(newest, 'w.bin');
    const manifest = JSON.parse(await readFile(join(newest, 'manifest.json'), 'utf8')) as unknown;
    const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');
    const right = await readFile(weights);
    expect(manifest).toEqual({ step: 4, files: { 'w.bin': { bytes: 9, sha256: sha256(right) } } });
    for (let at = 0; at < right.length; at++) {
      const wrong = Uint8Array.from(right);
      wrong[at] = (wrong[at] as number) ^ (1 << (at % 8));
      await writeFile(weights, wrong);
      const error = await RunFolder.create(path, config, { resume: true }).catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(InputError);
      expect((error as InputError).problem).toEqual({
        source: weights,
        field: 'SHA-256',
        expected: sha256(right),
        found: sha256(wrong),
        remedy: `Remove ${newest} to continue from the checkpoint before it.`,
      });
    }
    await rm(newest, { recursive: true });
    const resumed = await RunFolder.create(path, config, { resume: true });
    expect(resumed.resumed?.step).toBe(2);
    await resumed.close();
  });

  test('a checkpoint of an earlier version is refused: the run would start from the beginning', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 2);
    await run.close();
    const manifest = join(path, 'checkpoints/step-2/manifest.json');
    await writeFile(manifest, '{ "step": 2, "files": { "w.bin": 9 } }');
    await expect(RunFolder.create(path, config, { resume: true })).rejects.toThrow(
      `${manifest}: expected checksums of its files, found a checkpoint of an earlier version. Start the run again`,
    );
  });

  test('starts again without a checkpoint, whatever was written', async () => {
    const run = await RunFolder.create(path, config);
    run.events.append({ type: 'evaluation', stage: 'rl', step: 0, name: 'direct', metrics: { ndcg: 0.1 } });
    await work(run, 1, 1);
    await run.close();
    const resumed = await RunFolder.create(path, config, { resume: true });
    expect(resumed.resumed).toBeUndefined();
    resumed.events.append({ type: 'warning', stage: 'rl', step: 0, code: 'x', message: 'y' });
    await resumed.close();
    expect(await lines('events.jsonl')).toHaveLength(1);
    expect(await lines('completions.jsonl')).toEqual([]);
  });

  test('starts a run that was killed before its config was written', async () => {
    await mkdir(path);
    const resumed = await RunFolder.create(path, config, { resume: true });
    await resumed.close();
    expect((await readRunFolder(path)).config).toEqual(config);
  });

  test('garbage as the last line is dropped; earlier garbage is an error naming the line', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 2);
    await run.close();
    const events = join(path, 'events.jsonl');
    const good = await readFile(events, 'utf8');
    await writeFile(events, `${good}\0\0\0\0\n`);
    await (await RunFolder.create(path, config, { resume: true })).close();
    expect(await readFile(events, 'utf8')).toBe(good);
    await writeFile(events, `${good}{"step": 3\n${JSON.stringify(step(3))}\n`);
    await expect(RunFolder.create(path, config, { resume: true })).rejects.toThrow(
      /events\.jsonl: line 3: expected/,
    );
    expect(existsSync(join(path, '.lock'))).toBe(false);
  });

  test('a different config is refused with the key, unless that key may change', async () => {
    await (await RunFolder.create(path, config)).close();
    const longer = { ...config, steps: 20 };
    await expect(RunFolder.create(path, longer, { resume: true })).rejects.toThrow(
      /config\.yaml: steps: expected 9, as in the run to resume, found 20/,
    );
    const colder = { ...config, sft: { temperature: 0.02, rate: 5e-7 } };
    await expect(
      RunFolder.create(path, colder, { resume: true, mayChange: ['steps', 'sft.rate'] }),
    ).rejects.toThrow(/sft\.temperature: expected 0\.05/);
    await expect(RunFolder.create(path, { ...config, seeds: [2, 1] }, { resume: true })).rejects.toThrow(
      /seeds/,
    );
    await (await RunFolder.create(path, colder, { resume: true, mayChange: ['sft'] })).close();
    await (
      await RunFolder.create(path, { ...longer, sft: colder.sft }, { resume: true, mayChange: ['steps'] })
    ).close();
    expect((await readRunFolder(path)).config).toEqual({ ...longer, sft: colder.sft });
  });

  test('a copy of the folder resumes too', async () => {
    const run = await RunFolder.create(path, config);
    await work(run, 1, 2);
    const copy = join(parent, 'copy'); // With the lock of a running process inside.
    await cp(path, copy, { recursive: true });
    await run.close();
    const resumed = await RunFolder.create(copy, config, { resume: true });
    expect(resumed.resumed?.step).toBe(2);
    await resumed.close();
  });
});
