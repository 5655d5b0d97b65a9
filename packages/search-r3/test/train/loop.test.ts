/** The loop around the trainers: when it records, saves, evaluates and stops, and where it goes on. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  InterruptedError,
  type ProgressEvent,
  RunFolder,
  readStateFile,
  writeStateFile,
} from 'search-r3/run';
import { type LoopOptions, type Trainer, trainLoop } from 'search-r3/train';
import { afterAll, beforeAll, expect, test } from 'vitest';

/** Its state is the sum of the squares of its steps. */
class Counter implements Trainer {
  readonly stage = 'count';
  readonly steps = 7;
  sum = 0;
  readonly done: number[] = [];
  readonly saved: number[] = [];

  async step(index: number) {
    this.sum += index ** 2;
    this.done.push(index);
    return {
      metrics: { sum: this.sum, other: -index, none: null },
      timings: { step: index / 10 },
      completions:
        index === 2
          ? [
              {
                queryId: 'q',
                query: 'who',
                sample: 0,
                reasoning: '',
                reward: 1,
                rank: 1,
                tokens: 1,
                outcome: 'embedded' as const,
              },
            ]
          : [],
      ...(index === 4 && { warnings: [{ code: 'odd', message: 'an odd thing' }] }),
    };
  }

  async save(folder: string) {
    this.saved.push(this.done.length);
    await writeStateFile(join(folder, 'state'), { metadata: { sum: this.sum }, arrays: {} });
  }

  async restore(folder: string) {
    this.sum = ((await readStateFile(join(folder, 'state'))).metadata as { sum: number }).sum;
  }
}

let parent: string;
beforeAll(async () => {
  parent = await mkdtemp(join(tmpdir(), 'loop-'));
});
afterAll(() => rm(parent, { recursive: true }));

async function inFolder(name: string, options: Omit<LoopOptions, 'run'>, resume = false) {
  const trainer = new Counter();
  const path = join(parent, name);
  const run = await RunFolder.create(path, { name }, { resume });
  let error: unknown;
  const saved = await trainLoop(trainer, { ...options, run }).catch((reason: unknown) => {
    error = reason;
    return undefined;
  });
  await run.close();
  const lines = async (file: string) =>
    (await readFile(join(path, file), 'utf8'))
      .split('\n')
      .flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
  return {
    trainer,
    saved,
    error,
    events: await lines('events.jsonl'),
    completions: await lines('completions.jsonl'),
  };
}

test('records every step, its warnings and completions, saves every so many and at the end', async () => {
  const told: unknown[] = [];
  const { trainer, saved, events, completions } = await inFolder('whole', {
    saveEvery: 3,
    onWarning: (step, warning) => told.push({ step, ...warning }),
  });
  expect(trainer.done).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(trainer.saved).toEqual([3, 6, 7]);
  expect(saved).toMatchObject({ step: 7 });
  const steps = events.filter(({ type }) => type === 'step');
  expect(steps.map(({ step, metrics }) => [step, metrics.sum])).toEqual([
    [1, 0],
    [2, 1],
    [3, 5],
    [4, 14],
    [5, 30],
    [6, 55],
    [7, 91],
  ]);
  expect(steps[3]).toMatchObject({ stage: 'count', timings: { step: 0.3 }, metrics: { none: null } });
  expect(events.filter(({ type }) => type === 'warning')).toEqual([
    { type: 'warning', stage: 'count', step: 5, code: 'odd', message: 'an odd thing' },
  ]);
  expect(told).toEqual([{ step: 5, code: 'odd', message: 'an odd thing' }]);
  expect(completions.map(({ step }) => step)).toEqual([3]);
});

test('evaluates every so many steps, and once at the end', async () => {
  const at: number[] = [];
  const { events } = await inFolder('evaluated', {
    evaluateEvery: 3,
    evaluate: async (finished) => {
      at.push(finished);
      return { direct: { ndcg: finished / 10 }, reasoned: { ndcg: 1 } };
    },
  });
  expect(at).toEqual([3, 6, 7]);
  const evaluations = events.filter(({ type }) => type === 'evaluation');
  expect(evaluations.map(({ step, name, metrics }) => [step, name, metrics.ndcg])).toEqual(
    at.flatMap((step) => [
      [step, 'direct', step / 10],
      [step, 'reasoned', 1],
    ]),
  );
});

test('stopped, it finishes and saves the step at hand; resumed, it goes on after it', async () => {
  const controller = new AbortController();
  const first = await inFolder('stopped', {
    saveEvery: 100,
    signal: controller.signal,
    onStep: (finished) => {
      if (finished === 4) controller.abort();
    },
  });
  expect(first.error).toBeInstanceOf(InterruptedError);
  expect(first.trainer.done).toEqual([0, 1, 2, 3]);
  expect(first.trainer.saved).toEqual([4]);
  const second = await inFolder('stopped', { saveEvery: 100 }, true);
  expect(second.trainer.done).toEqual([4, 5, 6]);
  expect(second.trainer.sum).toBe(91);
  const whole = await inFolder('straight', { saveEvery: 100 });
  expect(second.events).toEqual(whole.events);
  expect(second.completions).toEqual(whole.completions);
  // Resumed at its end there is nothing left to do.
  const third = await inFolder('stopped', {}, true);
  expect(third.trainer.done).toEqual([]);
  expect(third.saved).toMatchObject({ step: 7 });
  expect(third.events).toEqual(whole.events);
});

test.each([
  ['in an evaluation', 6],
  ['in the one at the end', 7],
])('stopped %s, it has saved its steps, and resumed it evaluates first', async (name, at) => {
  const evaluation = (finished: number) => ({ direct: { ndcg: finished / 10 } });
  const options = { saveEvery: 100, evaluateEvery: 3 };
  const controller = new AbortController();
  const first = await inFolder(name, {
    ...options,
    signal: controller.signal,
    evaluate: async (finished) => {
      if (finished === at) {
        controller.abort();
        throw new InterruptedError('evaluate: stopped by the caller');
      }
      return evaluation(finished);
    },
  });
  expect(first.error).toMatchObject({ message: 'evaluate: stopped by the caller' });
  expect(first.trainer.saved).toEqual([at]);
  const evaluated: number[] = [];
  const again = {
    ...options,
    evaluate: async (finished: number) => {
      evaluated.push(finished);
      return evaluation(finished);
    },
  };
  const second = await inFolder(name, again, true);
  expect(evaluated).toEqual(at === 6 ? [6, 7] : [7]);
  const whole = await inFolder(`${name}, whole`, {
    ...options,
    evaluate: async (finished) => evaluation(finished),
  });
  expect(second.events).toEqual(whole.events);
  // Once more, there is nothing left.
  expect((await inFolder(name, again, true)).events).toEqual(whole.events);
  expect(evaluated).toHaveLength(at === 6 ? 2 : 1);
});

test('stopped while a step is prepared, it has saved those before; a failure is passed on', async () => {
  const prepared: number[] = [];
  const stopAt = (at: number, reason: Error) => async (finished: number) => {
    prepared.push(finished);
    if (finished === at) throw reason;
  };
  const options = { saveEvery: 3 };
  const interrupted = new InterruptedError('work: stopped');
  const first = await inFolder('prepared', { ...options, prepare: stopAt(5, interrupted) });
  expect(first.error).toEqual(new InterruptedError('count: stopped after step 5'));
  expect(first.trainer.done).toEqual([0, 1, 2, 3, 4]);
  expect(first.trainer.saved).toEqual([3, 5]);
  const broken = new Error('broken');
  const second = await inFolder('prepared', { ...options, prepare: stopAt(6, broken) }, true);
  expect(second.error).toBe(broken);
  // Saved after step 6, as every third.
  expect([second.trainer.done, second.trainer.saved]).toEqual([[5], [1]]);
  const third = await inFolder('prepared', { ...options, prepare: stopAt(9, broken) }, true);
  expect(third.trainer.sum).toBe(91);
  expect(prepared).toEqual([0, 1, 2, 3, 4, 5, 5, 6, 6]);
  const early = await inFolder('prepared early', { prepare: stopAt(0, interrupted) });
  expect(early.error).toBe(interrupted);
  expect(early.trainer.saved).toEqual([]);
});

test('stopped in a step that an evaluation follows, or failing in that, it has saved the step', async () => {
  const controller = new AbortController();
  let evaluations = 0;
  const evaluate = async () => {
    if (++evaluations === 2) throw new Error('a full disk');
    return { direct: { ndcg: 1 } };
  };
  const options = { saveEvery: 100, evaluateEvery: 3, evaluate };
  const onStep = (finished: number) => {
    if (finished === 3) controller.abort();
  };
  const first = await inFolder('before', { ...options, signal: controller.signal, onStep });
  expect(first.error).toBeInstanceOf(InterruptedError);
  expect([first.trainer.saved, evaluations]).toEqual([[3], 0]);
  const second = await inFolder('before', options, true);
  expect(second.error).toMatchObject({ message: 'a full disk' });
  expect([second.trainer.saved, evaluations]).toEqual([[3], 2]);
  const third = await inFolder('before', options, true);
  const steps = third.events.map(({ type, step }) => `${type} ${step}`);
  expect(steps.slice(2)).toEqual([
    'step 3',
    'evaluation 3',
    'step 4',
    'step 5',
    'warning 5',
    'step 6',
    'evaluation 6',
    'step 7',
    'evaluation 7',
  ]);
});

test('stopped in the last step, it is done', async () => {
  const controller = new AbortController();
  const { error, saved } = await inFolder('last', {
    signal: controller.signal,
    onStep: (finished) => {
      if (finished === 7) controller.abort();
    },
  });
  expect(error).toBeUndefined();
  expect(saved).toMatchObject({ step: 7 });
});

test('without a folder it leaves nothing behind; progress shows what is watched', async () => {
  const trainer = new Counter();
  const told: ProgressEvent[] = [];
  const progress = { report: (event: ProgressEvent) => told.push(event) };
  expect(await trainLoop(trainer, { progress, watch: ['other', 'sum', 'none', 'unknown'] })).toBeUndefined();
  expect(trainer.saved).toEqual([]);
  expect(told.map(({ step, steps, metrics }) => [step, steps, metrics])).toEqual(
    [0, 1, 5, 14, 30, 55, 91].map((sum, i) => [i + 1, 7, { other: -i, sum }]),
  );
  const all: ProgressEvent[] = [];
  await trainLoop(new Counter(), { progress: { report: (event) => all.push(event) } });
  expect(Object.keys(all[0]!.metrics)).toEqual(['sum', 'other']);
});
