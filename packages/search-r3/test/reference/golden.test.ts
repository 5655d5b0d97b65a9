/**
 * The reference implementation against the published one: golden.json was written by Hugging Face transformers and
 * torch (versions in its `source`), their casts to float32 lifted to float64, from the same tiny models and batches:
 * one forward pass, then three steps of both objectives with torch's autograd, clip_grad_norm_ and AdamW. Tensors are
 * kept as [Euclidean norm, sum_i x_i cos(i)]. `bench/peers/golden_torch.py` makes the same numbers again with PyTorch
 * alone.
 */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import type { AdamWOptions, NamedArrays } from './adamw.js';
import { asParameters } from './decoder.js';
import { norm, relativeError } from './finite-differences.js';
import {
  TINY_CONFIGS,
  TINY_GRPO_OPTIONS,
  TINY_SFT_OPTIONS,
  tinyGrpoBatch,
  tinySftBatch,
  tinyWeights,
} from './fixtures.js';
import { grpoObjective, referenceModel, sftObjective } from './objectives.js';
import { type ReferenceStep, referenceTraining } from './train.js';

type Digests = Record<string, [number, number]>;
interface GoldenStep {
  loss: number;
  gradientNorm: number;
  gradients: Digests;
  changes: Digests;
}
interface Golden {
  optimizer: AdamWOptions;
  models: Record<
    string,
    { tokens: number[]; hidden: number[]; logits: number[]; sft: GoldenStep[]; grpo: GoldenStep[] }
  >;
}
const golden = JSON.parse(readFileSync(new URL('golden.json', import.meta.url), 'utf8')) as Golden;

const digest = (x: Float64Array): [number, number] => [
  norm(x),
  x.reduce((total, value, i) => total + value * Math.cos(i), 0),
];

function expectDigests(found: NamedArrays, expected: Digests): void {
  expect([...found.keys()].sort()).toEqual(Object.keys(expected).sort());
  for (const [name, [length, projection]] of Object.entries(expected)) {
    const [foundLength, foundProjection] = digest(found.get(name)!);
    expect(Math.abs(foundLength / length - 1), name).toBeLessThan(1e-8);
    expect(Math.abs(foundProjection - projection) / length, name).toBeLessThan(1e-8);
  }
}

function expectSteps(found: readonly ReferenceStep[], expected: readonly GoldenStep[]): void {
  expect(found.length).toBe(3);
  for (const [i, step] of expected.entries()) {
    expect(found[i]!.loss).toBeCloseTo(step.loss, 9);
    expect(found[i]!.gradientNorm / step.gradientNorm).toBeCloseTo(1, 9);
    expectDigests(found[i]!.gradients, step.gradients);
    expectDigests(found[i]!.changes, step.changes);
  }
}

describe.each(TINY_CONFIGS)('$architecture', (config) => {
  const expected = golden.models[config.architecture]!;
  const weights = tinyWeights(config);
  const model = referenceModel(
    config,
    asParameters(weights, () => false),
  );

  test('hidden states and logits', () => {
    const { hidden, logits } = model.forward(expected.tokens);
    expect(hidden.shape).toEqual([9, 16]);
    expect(relativeError(hidden.data, expected.hidden)).toBeLessThan(1e-10);
    expect(relativeError(logits.data.slice(-config.vocabSize), expected.logits)).toBeLessThan(1e-10);
  });

  test('three steps of stage 1', () => {
    const base = referenceModel(
      config,
      asParameters(tinyWeights(config, 'base'), () => false),
    );
    const steps = referenceTraining(config, weights, [0, 1, 2].map(tinySftBatch), {
      objective: (policy, batch) => sftObjective(policy, base, batch, TINY_SFT_OPTIONS).loss,
      optimizer: golden.optimizer,
    });
    expectSteps(steps, expected.sft);
  });

  test('three steps of stage 2', () => {
    const batches = [0, 1, 2].map((step) => tinyGrpoBatch(model, step));
    const steps = referenceTraining(config, weights, batches, {
      objective: (policy, batch) => grpoObjective(policy, batch, TINY_GRPO_OPTIONS).loss,
      optimizer: golden.optimizer,
    });
    expectSteps(steps, expected.grpo);
  });
});
