/**
 * Log-probabilities of sampled tokens: those of the sampler, of the training graph and of the reference program are the
 * same numbers, at a temperature other than 1, and those of the float64 reference.
 */
import { fullTraining } from 'search-r3/decoder';
import { type Completion, Generator } from 'search-r3/generate';
import { randomStream } from 'search-r3/run';
import { GradientEngine, LogProbabilities, type TrainingSequence } from 'search-r3/train';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { inferenceOf, tinyModel } from '../decoder/tiny.js';
import { judge, MODELS, reference } from '../generate/models.js';
import { EMBED_TOKEN } from '../reference/fixtures.js';

const TEMPERATURE = 0.7;
const random = randomStream(4, 'prompts');
const PROMPTS = [4, 1, 7, 2].map((length) => Array.from({ length }, () => random.integer(22)));

const largest = (found: readonly number[], expected: readonly number[]): number =>
  Math.max(...expected.map((value, i) => Math.abs(found[i]! - value)));

/** Labels for the whole completion; `shift` puts them at the wrong tokens. */
const labelled = (
  prompt: readonly number[],
  { tokens, logProbabilities }: Completion,
  shift = 0,
): TrainingSequence => ({
  ids: [...prompt, ...tokens],
  labels: tokens.map((_, i) => ({
    position: prompt.length - 1 + i + shift,
    weight: 1,
    advantage: 1,
    oldLogProbability: logProbabilities[i]!,
  })),
});

describe.each(MODELS)('%s', (_, config) => {
  const model = tinyModel(config);
  let program: LogProbabilities;
  let rows: { prompt: number[]; completion: Completion }[];
  beforeAll(async () => {
    program = await LogProbabilities.create(model.config, fullTraining(model));
    const generator = await Generator.create(model.config, inferenceOf(model));
    const completions = await generator.generate(PROMPTS, {
      samples: 4,
      maxNewTokens: 9,
      temperature: TEMPERATURE,
      stop: [3],
      embedToken: EMBED_TOKEN,
    });
    await generator.dispose();
    rows = completions.flatMap((samples, i) =>
      samples.map((completion) => ({ prompt: PROMPTS[i]!, completion })),
    );
  });
  afterAll(() => program.dispose());

  const sampled = () => rows.flatMap(({ completion }) => completion.logProbabilities);
  const sequences = (shift = 0) => rows.map(({ prompt, completion }) => labelled(prompt, completion, shift));
  const flat = (values: readonly Float32Array[]) => values.flatMap((row) => [...row]);

  test('sampler, reference program and float64 agree', async () => {
    const found = flat(await program.compute(sequences(), TEMPERATURE, 8192));
    expect(largest(found, sampled())).toBeLessThan(1e-4);
    const exact = reference(config);
    const expected = rows.flatMap(
      ({ prompt, completion }) => judge(exact, prompt, completion, TEMPERATURE).logProbabilities,
    );
    expect(largest(found, expected)).toBeLessThan(1e-4);
  });

  test('the training graph has the same, so the first ratio is 1', async () => {
    const engine = new GradientEngine(model.config, fullTraining(model), {
      objective: { policyGradient: { clipLow: 0.2, clipHigh: 0.2, beta: 0 } },
    });
    const result = await engine.compute({ sequences: sequences(), temperature: TEMPERATURE });
    await engine.dispose();
    expect(largest(flat(result.labels.logProbabilities!), sampled())).toBeLessThan(1e-4);
    // -sum of ratio x advantage, with advantage 1.
    expect(result.loss / -sampled().length).toBeCloseTo(1, 4);
  });

  test('pieces give the same', async () => {
    const whole = await program.compute(sequences(), TEMPERATURE, 8192);
    const pieces = await program.compute(sequences(), TEMPERATURE, 20);
    expect(largest(flat(pieces), flat(whole))).toBeLessThan(1e-5);
  });

  test('without the temperature, or one token off, they are others', async () => {
    const cold = flat(await program.compute(sequences(), 1, 8192));
    expect(largest(cold, sampled())).toBeGreaterThan(0.1);
    const early = flat(await program.compute(sequences(-1).slice(-4), TEMPERATURE, 8192));
    const own = rows.slice(-4).flatMap(({ completion }) => completion.logProbabilities);
    expect(largest(early, own)).toBeGreaterThan(0.1);
  });
});

test('sequences without labels cost nothing and give nothing', async () => {
  const model = tinyModel(MODELS[0]![1]);
  const program = await LogProbabilities.create(model.config, fullTraining(model));
  const [first, second] = [PROMPTS[0]!, PROMPTS[2]!];
  const found = await program.compute(
    [
      { ids: first, labels: [] },
      { ids: second, labels: [{ position: 2, weight: 1 }] },
    ],
    1,
    100,
  );
  expect(found[0]).toEqual(new Float32Array());
  const { probabilities } = judge(reference(MODELS[0]![1]), second.slice(0, 3), {
    tokens: second.slice(3),
    logProbabilities: [],
    finish: 'length',
  });
  expect(found[1]![0]).toBeCloseTo(Math.log(probabilities[0]![second[3]!]!), 5);
  expect(await program.compute([{ ids: first, labels: [] }], 1, 100)).toEqual([new Float32Array()]);
  await program.dispose();
});

describe('probabilities near 1 and near 0', () => {
  /** A head so large that one token has all the probability, to the last bit of float32. */
  const model = tinyModel(MODELS[0]![1]);
  const head = model.weights.get('lm_head.weight')!.data;
  head.set(head.map((value) => value * 100));
  const prompt = PROMPTS[2]!;
  let certain: Completion;
  beforeAll(async () => {
    const generator = await Generator.create(model.config, inferenceOf(model));
    const [[completion]] = (await generator.generate([prompt], { maxNewTokens: 6, stop: [] })) as [
      [Completion],
    ];
    await generator.dispose();
    certain = completion;
  });

  const engine = (beta: number) =>
    new GradientEngine(model.config, fullTraining(model), {
      objective: { policyGradient: { clipLow: 0.2, clipHigh: 0.2, beta } },
    });

  test('a certain token has log-probability 0, ratio 1 and gradient 0, not NaN', async () => {
    expect(certain.logProbabilities).toContain(0);
    expect(certain.logProbabilities.every(Number.isFinite)).toBe(true);
    const training = engine(0);
    const sequence = labelled(prompt, certain);
    const result = await training.compute({ sequences: [sequence] });
    await training.dispose();
    expect(largest([...result.labels.logProbabilities![0]!], certain.logProbabilities)).toBeLessThan(1e-4);
    expect(result.loss).toBeCloseTo(-6, 4);
    for (const gradient of result.gradients.values()) expect(gradient.every(Number.isFinite)).toBe(true);
  });

  test('an impossible token keeps its finite log-probability, and so does its k3', async () => {
    // Another token than the certain one everywhere: softmax is exactly 0 there, its logarithm must not be taken.
    const impossible: Completion = { ...certain, tokens: certain.tokens.map((token) => (token + 1) % 22) };
    const sequence = labelled(prompt, impossible);
    const program = await LogProbabilities.create(model.config, fullTraining(model));
    const [own] = (await program.compute([sequence], 1, 100)) as [Float32Array];
    await program.dispose();
    const expected = judge(
      {
        ...reference(MODELS[0]![1]),
        forward: (tokens) => {
          const { hidden, logits } = reference(MODELS[0]![1]).forward(tokens);
          for (let i = 0; i < logits.data.length; i++) logits.data[i]! *= 100;
          return { hidden, logits };
        },
      },
      prompt,
      impossible,
    );
    expect(Math.min(...own)).toBeLessThan(-104);
    const exact = expected.gaps.map((gap, t) => {
      const best = Math.max(...expected.probabilities[t]!);
      return Math.log(best) - gap;
    });
    expect(own.every((value, t) => Math.abs(value / exact[t]! - 1) < 1e-4)).toBe(true);
    const training = engine(0.1);
    const labels = sequence.labels.map((label, t) => ({
      ...label,
      klWeight: 1,
      oldLogProbability: own[t]!,
      referenceLogProbability: own[t]! - 1,
    }));
    const result = await training.compute({ sequences: [{ ...sequence, labels }] });
    await training.dispose();
    // d = -1 for six tokens: exp(-1) + 1 - 1.
    expect(result.sums.kl).toBeCloseTo(6 * Math.exp(-1), 3);
    expect(result.loss).toBeCloseTo(-6 + 0.1 * 6 * Math.exp(-1), 3);
    for (const gradient of result.gradients.values()) expect(gradient.every(Number.isFinite)).toBe(true);
  });
});
