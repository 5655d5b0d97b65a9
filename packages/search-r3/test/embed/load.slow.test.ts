/** 32 callers who embed as they like, half of them giving up: every request is answered, by its own vector. */
import { setTimeout as later } from 'node:timers/promises';
import { Embedder, type EmbedRequest, type EmbedResult } from 'search-r3/embed';
import { Model, makePolicy } from 'search-r3/model';
import { InterruptedError, randomStream } from 'search-r3/run';
import { expect, test } from 'vitest';
import { tinyBase, WORDS } from '../decoder/tiny-policy.js';

const REQUESTS = 2000;

/** One of the ways to ask. */
function variant(i: number): EmbedRequest {
  const random = randomStream(3, 'variant', i);
  const words = (count: number) => Array.from({ length: count }, () => random.choice(WORDS)).join(' ');
  const settings = {
    text: words(1 + random.integer(i % 9 === 0 ? 60 : 8)),
    dimensions: 4 + random.integer(13),
    maxNewTokens: 1 + random.integer(14),
  };
  const fusion = random.choice(['mean', 'direct+mean'] as const);
  switch (i % 4) {
    case 0:
      return { ...settings, role: random.choice(['query', 'document']) };
    case 1:
      return { ...settings, reasoning: words(5), fusion };
    case 2:
      return { ...settings, reasoning: 'on', fusion };
    default: {
      const samples = 1 + random.integer(3);
      return { ...settings, reasoning: 'on', fusion, samples, temperature: 1, seed: random.integer(1000) };
    }
  }
}

test('2,000 requests of 32 callers, half of them cancelled', async () => {
  const policy = makePolicy(tinyBase('request load'), { reasoning: { system: 'reason' } });
  await using model = Model.of(policy, { threads: 1 });
  const embedder = new Embedder(model);
  const variants = Array.from({ length: 48 }, (_, i) => variant(i));
  const expected: EmbedResult[] = [];
  for (const request of variants) expected.push(await embedder.submit(request));

  const counts = { completed: 0, cancelled: 0 };
  let begun = 0;
  const ask = async (number: number): Promise<void> => {
    const random = randomStream(4, 'request', number);
    const which = random.integer(variants.length);
    const controller = new AbortController();
    const cancels = random.uniform() < 0.5;
    const submitted = embedder.submit({ ...(variants[which] as EmbedRequest), signal: controller.signal });
    if (cancels) setTimeout(() => controller.abort(), random.integer(8));
    try {
      const { vector, ...rest } = await submitted;
      const { vector: own, ...right } = expected[which] as EmbedResult;
      expect(rest).toEqual(right);
      expect(vector.length).toBe(own.length);
      for (const [at, value] of own.entries()) expect(Math.abs(vector[at]! - value)).toBeLessThan(2e-6);
      counts.completed++;
    } catch (error) {
      if (!(error instanceof InterruptedError)) throw error;
      expect(cancels).toBe(true);
      counts.cancelled++;
    }
  };
  const caller = async (): Promise<void> => {
    while (begun < REQUESTS) {
      const number = begun++;
      if (number % 7 === 0) await later(number % 5);
      await ask(number);
    }
  };
  await Promise.all(Array.from({ length: 32 }, caller));
  expect(counts.completed + counts.cancelled).toBe(REQUESTS);
  expect(counts.cancelled).toBeGreaterThan(0.1 * REQUESTS);
  expect(counts.completed).toBeGreaterThan(0.45 * REQUESTS);
});
