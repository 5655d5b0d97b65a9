/** Single requests to the retriever, in its own thread and in this one, checked against the embedder. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type EmbedRequest, InputError, InterruptedError, loadRetriever, type Retriever } from 'search-r3';
import { Embedder } from 'search-r3/embed';
import { Model } from 'search-r3/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyPolicy, writeModel } from '../cli/tiny.js';

const THREADS = ['worker', 'current'] as const;
const REQUESTS: EmbedRequest[] = [
  { text: 'which trade is there in elmo' },
  { text: 'music', role: 'document', dimensions: 9 },
  { text: 'people of hask know food', reasoning: 'on', maxNewTokens: 7 },
  {
    text: 'soup',
    reasoning: 'on',
    temperature: 1,
    seed: 3,
    samples: 2,
    fusion: 'direct+mean',
    maxNewTokens: 9,
  },
  { text: 'soup', reasoning: 'bread and cheese' },
];

let cwd: string;
const retrievers = new Map<string, Retriever>();
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'requests-'));
  const model = await writeModel(join(cwd, 'model'));
  for (const thread of THREADS) retrievers.set(thread, await loadRetriever(model, { thread }));
});
afterAll(async () => {
  for (const retriever of retrievers.values()) await retriever.dispose();
  await rm(cwd, { recursive: true });
});

const thrown = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );

describe.each(THREADS)('thread: %s', (thread) => {
  const on = () => retrievers.get(thread) as Retriever;

  test('concurrent requests give what the embedder gives', async () => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const found = await Promise.all(REQUESTS.map((request) => on().submit(request)));
    for (const [i, request] of REQUESTS.entries()) {
      const { vector, ...rest } = await embedder.submit(request);
      const { vector: own, ...others } = found[i]!;
      expect(others).toEqual(rest);
      expect(own).toHaveLength(vector.length);
      for (const [at, value] of vector.entries()) expect(own[at]).toBeCloseTo(value, 5);
    }
    const probe = { text: 'soup', written: 'bread and cheese' };
    const [probed, expected] = [await on().probe(probe), await embedder.probe(probe)];
    for (const [at, value] of expected.entries()) expect(probed[at]).toBeCloseTo(value, 5);
    await embedder.model.dispose();
  });

  test('reasoning is streamed by sample; an abort or an error of a callback ends that request alone', async () => {
    const controller = new AbortController();
    const told = ['', ''];
    const sampled = { text: 'soup', reasoning: 'on', temperature: 1, samples: 2, minNewTokens: 40 } as const;
    const whole = on().submit({
      ...sampled,
      onToken: ({ sample, piece }) => {
        told[sample] += piece;
      },
    });
    const aborted = thrown(
      on().submit({ ...sampled, signal: controller.signal, onToken: () => controller.abort() }),
    );
    const error = new RangeError('enough');
    const failed = thrown(
      on().submit({
        ...sampled,
        onToken: () => {
          throw error;
        },
      }),
    );
    const { reasoning } = await whole;
    expect(told).toEqual(reasoning?.map(({ text }) => text));
    expect(told[0]!.length).toBeGreaterThan(12);
    expect(await aborted).toBeInstanceOf(InterruptedError);
    expect(await failed).toBe(error);
  });

  test('bad requests are refused by name', async () => {
    const refusals: [Promise<unknown>, RegExp][] = [
      [on().submit({ text: ' ' }), /^embed request: expected a query with text, found " "/],
      [on().probe({ text: '', written: '' }), /^probe request: expected a query with text, found ""/],
      [on().submit({ text: 3 } as unknown as EmbedRequest), /^embed request: text: expected string, found 3/],
      [on().submit({ text: 'soup', reasoning: 'auto' }), /^embed request: reasoning: /],
    ];
    for (const [refused, message] of refusals) {
      const error = await thrown(refused);
      expect(error).toBeInstanceOf(InputError);
      expect((error as InputError).message).toMatch(message);
    }
    expect((await on().submit({ text: ' ', role: 'document' })).truncated).toBe(false);
  });
});
