/** Draws of a model against the exact distribution, and vocabularies of many blocks. */
import { type GenerationRequest, Generator } from 'search-r3/generate';
import { describe, expect, test } from 'vitest';
import { inferenceOf, tinyModel } from '../decoder/tiny.js';
import { scaled } from '../support/scale.js';
import { expectDrawn } from './draws.js';
import { MODELS, reference } from './models.js';
import { processed, softmaxOf } from './transformers-logits.js';

/** The value that a chi-square variable exceeds once in a thousand times (Wilson and Hilferty 1931). */
const chiSquare999 = (degrees: number): number => {
  const spread = 2 / (9 * degrees);
  return degrees * (1 - spread + 3.0902 * Math.sqrt(spread)) ** 3;
};

describe('tokens come as often as the exact distribution says', () => {
  const [, config] = MODELS[0]!;
  const model = tinyModel(config);
  const prompt = [4, 9, 2];
  const { logits } = reference(config).forward(prompt);
  const scores = Array.from(logits.data.slice(-config.vocabSize));

  test.each([
    {},
    { temperature: 2.5 },
    { temperature: 3, topK: 7 },
    { temperature: 3, topP: 0.75 },
    { temperature: 2, minP: 0.04 },
    { temperature: 3, repetitionPenalty: 2 },
    { temperature: 4, topK: 12, topP: 0.9, minP: 0.03, repetitionPenalty: 1.2 },
  ])('%o', async (settings) => {
    const generator = await Generator.create(model.config, inferenceOf(model), { threads: 1 });
    const draws = scaled(4000, 100_000);
    const found = new Array<number>(config.vocabSize).fill(0);
    const request = { prompt, maxNewTokens: 1, stop: [], seed: 77, samples: draws, ...settings };
    for (const { tokens } of await generator.submit(request).completions) found[tokens[0]!]!++;
    await generator.dispose();
    const exact = softmaxOf(processed(scores, prompt, settings));
    // Rare tokens count together.
    let chiSquare = 0;
    let classes = 0;
    const rest = { found: 0, expected: 0 };
    for (const [token, p] of exact.entries()) {
      if (p === 0) expect(found[token], `token ${token}`).toBe(0);
      else if (p * draws < 5) {
        rest.found += found[token]!;
        rest.expected += p * draws;
      } else {
        chiSquare += (found[token]! - p * draws) ** 2 / (p * draws);
        classes++;
      }
    }
    if (rest.expected > 5) {
      chiSquare += (rest.found - rest.expected) ** 2 / rest.expected;
      classes++;
    }
    expect(classes).toBeGreaterThan(2);
    expect(chiSquare).toBeLessThan(chiSquare999(classes - 1));
  });
});

describe.each([300, 512, 5003])('a vocabulary of %i', (vocabSize) => {
  const config = { ...MODELS[3]![1], vocabSize };
  const model = tinyModel(config);

  test('draws from all blocks, and from as many of the most probable as it takes', async () => {
    const generator = await Generator.create(model.config, inferenceOf(model), { threads: 1 });
    const settings: Partial<GenerationRequest>[] = [
      { temperature: 0 },
      {},
      { temperature: 9 },
      { temperature: 9, topP: 0.98 },
      { temperature: 9, topK: 280, topP: 0.9 },
      { temperature: 9, topK: 290 },
      { temperature: 9, topK: 4800 },
      { temperature: 9, minP: 0.02 },
      { topP: 0.5, topK: 20 },
    ];
    const requests = settings.map(
      (own, seed): GenerationRequest => ({
        prompt: [seed + 1, vocabSize - 1 - seed],
        maxNewTokens: 12,
        stop: [],
        seed,
        ...own,
      }),
    );
    const found = await Promise.all(requests.map((request) => generator.submit(request).completions));
    const without = reference(config);
    const drawn = new Set<number>();
    for (const [i, request] of requests.entries()) {
      for (const [sample, completion] of found[i]!.entries()) {
        expectDrawn(without, request, completion, sample);
        for (const token of completion.tokens) drawn.add(Math.floor(token / 256));
      }
    }
    expect(drawn.size).toBeGreaterThan(Math.min(2, vocabSize / 256) * 0.9);
    await generator.dispose();
  });
});
