/**
 * Dropout of adapters in training: gradients against central differences under one mask; the mean over many masks is the
 * gradient without dropout, since the mean of mask x / (1 - rate) is x.
 */
import type { TrainingWeights } from 'search-r3/decoder';
import { dropoutSeed, type GradientEngine, LogProbabilities, type StepRequest } from 'search-r3/train';
import { expect, test } from 'vitest';
import { tinyModel } from '../decoder/tiny.js';
import { TINY_CONFIGS, TINY_SFT_OPTIONS, tinySftBatch } from '../reference/fixtures.js';
import { adapted, sftEngineOf, sftRequest } from './requests.js';

const TINY = TINY_CONFIGS[1]!;
const { config } = tinyModel(TINY);
const request = sftRequest(tinySftBatch(), TINY_SFT_OPTIONS);

const engineOf = (weights: TrainingWeights) => sftEngineOf(config, weights, undefined);
const lossOf = async (engine: GradientEngine, given: StepRequest) => (await engine.compute(given)).loss;

test('gradients belong to the masks that the loss was computed with', async () => {
  const weights = adapted(tinyModel(TINY), { dropout: 0.3 });
  await using engine = disposed(engineOf(weights));
  const seeded = { ...request, seed: 11 };
  const found = new Map(
    [...(await engine.compute(seeded)).gradients].map(([name, gradient]) => [name, gradient.slice()]),
  );
  for (const [name, { data }] of weights.trained) {
    const gradient = found.get(name)!;
    // Along the gradient itself the derivative is its norm.
    const norm = Math.hypot(...gradient);
    if (norm < 1e-3) continue;
    const origin = data.slice();
    const at = async (step: number) => {
      data.set(origin.map((value, i) => value + (step * gradient[i]!) / norm));
      const loss = await lossOf(engine, seeded);
      data.set(origin);
      return loss;
    };
    const step = 0.02;
    const derivative = ((await at(step)) - (await at(-step))) / (2 * step);
    expect(Math.abs(derivative / norm - 1), name).toBeLessThan(0.03);
  }
});

test('one seed gives one mask; seeds differ by update and by stage', async () => {
  await using engine = disposed(engineOf(adapted(tinyModel(TINY), { dropout: 0.3 })));
  const seeds = [dropoutSeed('sft', 0, 0), dropoutSeed('sft', 0, 1), dropoutSeed('rl', 0, 0)];
  const losses = [];
  for (const seed of seeds) losses.push(await lossOf(engine, { ...request, seed }));
  expect(new Set(losses).size).toBe(3);
  expect(await lossOf(engine, { ...request, seed: seeds[0]! })).toBe(losses[0]);
});

test('the mean gradient over masks is the gradient without dropout', async () => {
  // A new adapter: with B zero the masks change no activation, and the gradient of B is linear in them.
  const fresh = { spread: 0 };
  const gradients = async (engine: GradientEngine, seed: number) =>
    new Map(
      [...(await engine.compute({ ...request, seed })).gradients]
        .filter(([name]) => name.includes('lora_B'))
        .map(([name, gradient]) => [name, Float64Array.from(gradient)]),
    );
  await using plain = disposed(engineOf(adapted(tinyModel(TINY), fresh)));
  await using engine = disposed(engineOf(adapted(tinyModel(TINY), { ...fresh, dropout: 0.5 })));
  const expected = await gradients(plain, 0);
  const seeds = 200;
  const mean = new Map([...expected].map(([name, { length }]) => [name, new Float64Array(length)]));
  for (let seed = 0; seed < seeds; seed++) {
    for (const [name, gradient] of await gradients(engine, seed)) {
      const total = mean.get(name)!;
      for (const [i, value] of gradient.entries()) total[i]! += value / seeds;
    }
  }
  for (const [name, gradient] of expected) {
    const found = mean.get(name)!;
    const along = gradient.reduce((sum, value, i) => sum + value * found[i]!, 0);
    const ratio = along / gradient.reduce((sum, value) => sum + value ** 2, 0);
    expect(Math.abs(ratio - 1), name).toBeLessThan(0.2);
  }
});

test('log-probabilities are those without dropout', async () => {
  const values = [];
  for (const dropout of [undefined, 0.5]) {
    const weights = adapted(tinyModel(TINY), { dropout });
    await using scorer = disposed(await LogProbabilities.create(config, weights));
    values.push(await scorer.compute(request.sequences, 1, 1000));
  }
  expect(values[1]).toEqual(values[0]);
});

function disposed<T extends { dispose(): Promise<void> }>(value: T): T & AsyncDisposable {
  return Object.assign(value, { [Symbol.asyncDispose]: () => value.dispose() });
}
