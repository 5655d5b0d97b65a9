/** 32 callers with settings of their own, half of whose requests are cancelled: nothing lost, mixed up or kept. */
import { setTimeout as later, setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Completion, type GenerationRequest, Generator } from 'search-r3/generate';
import { InterruptedError, randomStream } from 'search-r3/run';
import { afterEach, expect, test, vi } from 'vitest';
import { inferenceOf, tinyModel } from '../decoder/tiny.js';
import { EMBED_TOKEN } from '../reference/fixtures.js';
import { MODELS } from './models.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

const CALLERS = 32;
const REQUESTS = 2000;
const model = tinyModel(MODELS[4]![1]);

afterEach(() => {
  vi.useRealTimers();
});

/** One of the ways to ask. */
function variant(i: number): GenerationRequest {
  const random = randomStream(8, 'variant', i);
  return {
    prompt: Array.from({ length: 1 + random.integer(i % 9 === 0 ? 90 : 12) }, () => random.integer(22)),
    maxNewTokens: 1 + random.integer(14),
    stop: random.uniform() < 0.5 ? [3, 17] : [],
    embedToken: EMBED_TOKEN,
    forceEmbed: random.uniform() < 0.3,
    samples: 1 + random.integer(3),
    temperature: random.choice([0, 0.5, 1, 1.5]),
    topK: random.choice([0, 0, 3, 9]),
    topP: random.choice([1, 1, 0.8]),
    minP: random.choice([0, 0, 0.1]),
    repetitionPenalty: random.choice([1, 1, 1.3]),
    seed: random.integer(1000),
    priority: random.integer(3),
  };
}

/** Megabytes in use after a collection. */
async function memory(): Promise<{ buffers: number; heap: number }> {
  collectGarbage();
  // Tensors of the binding are let go in a turn of their own.
  await setImmediate();
  collectGarbage();
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return { buffers: arrayBuffers / 2 ** 20, heap: heapUsed / 2 ** 20 };
}

test('2,000 requests of 32 callers, half of them cancelled', async () => {
  const generator = await Generator.create(model.config, inferenceOf(model), {
    slots: 12,
    stepTokens: 64,
    threads: 1,
  });
  const variants = Array.from({ length: 48 }, (_, i) => variant(i));
  const expected: Completion[][] = [];
  for (const request of variants) expected.push(await generator.submit(request).completions);

  const counts = { completed: 0, cancelled: 0, late: 0 };
  const memories: Awaited<ReturnType<typeof memory>>[] = [];
  let begun = 0;

  const ask = async (number: number): Promise<void> => {
    const random = randomStream(9, 'request', number);
    const which = random.integer(variants.length);
    const right = expected[which]!;
    const seen: number[][] = right.map(() => []);
    const controller = new AbortController();
    // Before it starts, or after some tokens; some have ended by then.
    const cancelAt =
      random.uniform() < 0.5 ? random.integer(right.flatMap(({ tokens }) => tokens).length) : -1;
    let drawn = 0;
    const submission = generator.submit({
      ...variants[which]!,
      signal: controller.signal,
      onToken: ({ sample, token }) => {
        seen[sample]!.push(token);
        if (++drawn === cancelAt) random.uniform() < 0.5 ? controller.abort() : submission.cancel();
      },
    });
    if (cancelAt === 0) controller.abort();
    const probe = random.uniform() < 0.1 ? submission.probe().catch((error: unknown) => error) : undefined;
    try {
      const completions = await submission.completions;
      expect(completions.map(({ tokens }) => tokens)).toEqual(right.map(({ tokens }) => tokens));
      expect(completions.map(({ finish }) => finish)).toEqual(right.map(({ finish }) => finish));
      expect(completions.map(({ hidden }) => hidden === undefined)).toEqual(
        right.map(({ hidden }) => hidden === undefined),
      );
      expect(seen).toEqual(right.map(({ tokens }) => tokens));
      if (cancelAt >= 0) counts.late++;
      counts.completed++;
    } catch (error) {
      if (!(error instanceof InterruptedError)) throw error;
      expect(cancelAt).toBeGreaterThanOrEqual(0);
      for (const [sample, tokens] of seen.entries()) {
        expect(tokens).toEqual(right[sample]!.tokens.slice(0, tokens.length));
      }
      counts.cancelled++;
    }
    await probe;
  };

  const caller = async (): Promise<void> => {
    while (begun < REQUESTS) {
      const number = begun++;
      if (number % (REQUESTS / 4) === 0) memories.push(await memory());
      if (number % 7 === 0) await later(number % 5);
      await ask(number);
    }
  };
  await Promise.all(Array.from({ length: CALLERS }, caller));
  memories.push(await memory());

  expect(counts.completed + counts.cancelled).toBe(REQUESTS);
  expect(counts.cancelled).toBeGreaterThan(0.35 * REQUESTS);
  expect(counts.completed).toBeGreaterThan(0.45 * REQUESTS);
  expect(counts.late).toBeGreaterThan(0);
  // After the first quarter nothing grows. What is being served at the moment is well below a megabyte.
  const [, second, , , last] = memories;
  expect(last!.buffers).toBeLessThan(second!.buffers + 1);
  expect(last!.heap).toBeLessThan(second!.heap + 8);
  await generator.dispose();
});

test('memory is given back when nothing is asked for, and taken again', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  const generator = await Generator.create(model.config, inferenceOf(model), { threads: 1 });
  const request = { prompt: [1, 2, 3], maxNewTokens: 480, samples: 8, stop: [], seed: 3 };
  const first = await generator.submit(request).completions;
  const held = (await memory()).buffers;
  await vi.advanceTimersByTimeAsync(9_000);
  expect((await memory()).buffers).toBeGreaterThan(held - 0.5);
  const again = await generator.submit(request).completions;
  await vi.advanceTimersByTimeAsync(11_000);
  // Two layers, keys and values, 4 heads of 16, 8 rows of 512 positions: 4 MiB.
  expect((await memory()).buffers).toBeLessThan(held - 3.5);
  expect(again).toEqual(first);
  expect(await generator.submit(request).completions).toEqual(first);
  await generator.dispose();
});
