/** Generation as one batch against concurrent requests of the same prompts, and the parts of a GRPO step. */
import { initialiseWeights, newConfig } from 'search-r3/checkpoint';
import { memoryWeights } from 'search-r3/decoder';
import { Generator } from 'search-r3/generate';
import { setUp, trainRl, trainSft } from './lib/atlas.js';
import type { BenchmarkOptions, BenchmarkResult, Log } from './lib/benchmark.js';
import { interleaved, median, rounded } from './lib/stats.js';

export const description =
  'generation tokens/s, as one batch and as concurrent requests, and the parts of a GRPO step';

const PROMPT = 64;
const NEW = 64;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const config = newConfig({
    vocabSize: 2048,
    hiddenSize: 256,
    intermediateSize: 704,
    layers: 6,
    heads: 8,
    kvHeads: 4,
    maxPositions: 1024,
  });
  const weights = memoryWeights({ config, weights: initialiseWeights(config, 0) });
  const generator = await Generator.create(config, weights, { slots: 128 });
  const figures: Record<string, unknown> = {};
  for (const batch of quick ? [1, 64] : [1, 64, 128]) {
    const prompts = Array.from({ length: batch }, (_, row) =>
      Array.from({ length: PROMPT }, (__, i) => (row * 7919 + i * 104729) % config.vocabSize),
    );
    const options = { maxNewTokens: NEW, temperature: 1, stop: [] };
    const rate = (generate: () => Promise<unknown>) => async () => {
      const started = performance.now();
      await generate();
      return (batch * NEW * 1000) / (performance.now() - started);
    };
    const whole = rate(() => generator.generate(prompts, { ...options, slots: batch }));
    const requests = rate(() =>
      Promise.all(prompts.map((prompt, i) => generator.submit({ prompt, ...options, index: i }).completions)),
    );
    await whole();
    await requests();
    figures[`batch${batch}`] = await interleaved({
      rounds: quick ? 3 : 8,
      ours: requests,
      theirs: whole,
      log: (text) => log(`batch ${batch}: ${text}`),
    });
  }
  await generator.dispose();
  figures.grpoStep = await parts(quick, log);
  return { figures: rounded(figures), sizes: { prompt: PROMPT, newTokens: NEW, model: '5.0M' }, seeds: [0] };
}

/** Median seconds of each part of a GRPO step on the built-in world (16 queries x 8 samples, 600 documents). */
async function parts(quick: boolean, log: Log): Promise<Record<string, number>> {
  const context = await setUp(0);
  const policy = await trainSft(context, { steps: 80, maxQueries: 512 });
  const timings: Record<string, number>[] = [];
  await trainRl(
    context,
    policy,
    { steps: quick ? 8 : 25 },
    {
      onStep: (step, record) => {
        // The first steps compile their programs.
        if (step > 3) timings.push(record.timings);
        log(`GRPO step ${step}`);
      },
    },
  );
  const names = [...new Set(timings.flatMap((record) => Object.keys(record)))];
  return Object.fromEntries(names.map((name) => [name, median(timings.map((record) => record[name] ?? 0))]));
}
