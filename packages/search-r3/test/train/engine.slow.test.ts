/**
 * Whole trainings of three steps against the float64 reference: engine, objective, clipping, schedule and AdamW
 * together. The reference itself is held to torch and transformers by golden.json.
 */
import {
  type GradientEngine,
  type OptimizationOptions,
  Optimizer,
  type StepGradients,
  type StepRequest,
} from 'search-r3/train';
import { describe, expect, test } from 'vitest';
import { type TinyModel, tinyModel } from '../decoder/tiny.js';
import { asParameters } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import {
  TINY_CONFIGS,
  TINY_GRPO_OPTIONS,
  TINY_SFT_OPTIONS,
  tinyGrpoBatch,
  tinySftBatch,
  tinyWeights,
} from '../reference/fixtures.js';
import { grpoObjective, referenceModel, sftObjective } from '../reference/objectives.js';
import { type ReferenceStep, referenceTraining } from '../reference/train.js';
import { grpoEngine, grpoRequest, sftEngine, sftRequest } from './requests.js';

const STEPS = [0, 1, 2];
const OPTIMIZATION: OptimizationOptions = {
  learningRate: 5e-3,
  schedule: 'cosine',
  warmupSteps: 1,
  finalLearningRate: 0.25,
  weightDecay: 0.1,
  betas: [0.8, 0.9],
  maxGradientNorm: 8,
  maxTokens: 8192,
  checkpointActivations: false,
};
/** The peak after one step, the middle between it and the end, and where the cosine of three steps ends. */
const RATES = [1, 0.625, 0.25].map((factor) => factor * OPTIMIZATION.learningRate);
const REFERENCE_OPTIMIZER = {
  learningRate: OPTIMIZATION.learningRate,
  beta1: 0.8,
  beta2: 0.9,
  weightDecay: 0.1,
  maxGradNorm: 8,
  decays: (name: string) => !name.endsWith('norm.weight') && !name.endsWith('.bias'),
};

/** Three steps of the engine; parameters of `model` change in place. */
async function train(
  model: TinyModel,
  engine: GradientEngine,
  requests: readonly StepRequest[],
): Promise<{ result: StepGradients; changes: Map<string, Float32Array>; norm: number; rate: number }[]> {
  const optimizer = new Optimizer(model.weights, OPTIMIZATION, requests.length);
  const steps = [];
  for (const [step, request] of requests.entries()) {
    const result = await engine.compute(request);
    const before = new Map([...model.weights].map(([name, { data }]) => [name, data.slice()]));
    const { gradientNorm, learningRate } = optimizer.update(step, result.gradients);
    const changes = new Map(
      [...model.weights].map(([name, { data }]) => [
        name,
        data.map((value, i) => value - (before.get(name)?.[i] as number)),
      ]),
    );
    // The engine's next step overwrites its gradients.
    const gradients = new Map([...result.gradients].map(([name, gradient]) => [name, gradient.slice()]));
    steps.push({ result: { ...result, gradients }, changes, norm: gradientNorm, rate: learningRate });
  }
  return steps;
}

function expectSteps(found: Awaited<ReturnType<typeof train>>, expected: readonly ReferenceStep[]): void {
  for (const [i, step] of expected.entries()) {
    const { result, changes, norm, rate } = found[i]!;
    expect(Math.abs(result.loss / step.loss - 1), `loss ${i}`).toBeLessThan(1e-4);
    expect(Math.abs(norm / step.gradientNorm - 1), `norm ${i}`).toBeLessThan(1e-4);
    expect(rate).toBeCloseTo(RATES[i]!, 12);
    expect([...result.gradients.keys()].sort()).toEqual([...step.gradients.keys()].sort());
    for (const [name, gradient] of step.gradients) {
      const change = relativeError(changes.get(name)!, step.changes.get(name)!);
      expect(relativeError(result.gradients.get(name)!, gradient), `gradient ${i} ${name}`).toBeLessThan(
        1e-4,
      );
      expect(change, `change ${i} ${name}`).toBeLessThan(1e-3);
    }
  }
}

describe.each(TINY_CONFIGS)('three steps of training, $architecture', (config) => {
  const weights = tinyWeights(config);
  const frozen = (label: string) =>
    referenceModel(
      config,
      asParameters(tinyWeights(config, label), () => false),
    );

  test('stage 1: cross-entropy, KL to the base, InfoNCE, triplet', async () => {
    const model = tinyModel(config);
    const base = tinyModel(config, tinyWeights(config, 'base'));
    const engine = sftEngine(model, base);
    const found = await train(
      model,
      engine,
      STEPS.map((step) => sftRequest(tinySftBatch(step), TINY_SFT_OPTIONS)),
    );
    await engine.dispose();
    const reference = frozen('base');
    const expected = referenceTraining(config, weights, STEPS.map(tinySftBatch), {
      objective: (policy, batch) => sftObjective(policy, reference, batch, TINY_SFT_OPTIONS).loss,
      optimizer: REFERENCE_OPTIMIZER,
      learningRate: (step) => RATES[step] as number,
    });
    expectSteps(found, expected);
  });

  test('stage 2: clipped policy gradient, k3 to the reference, InfoNCE', async () => {
    const model = tinyModel(config);
    const batches = STEPS.map((step) => tinyGrpoBatch(frozen('weights'), step));
    const engine = grpoEngine(model);
    const found = await train(
      model,
      engine,
      batches.map((batch) => grpoRequest(batch, TINY_GRPO_OPTIONS)),
    );
    await engine.dispose();
    const expected = referenceTraining(config, weights, batches, {
      objective: (policy, batch) => grpoObjective(policy, batch, TINY_GRPO_OPTIONS).loss,
      optimizer: REFERENCE_OPTIMIZER,
      learningRate: (step) => RATES[step] as number,
    });
    expectSteps(found, expected);
  });
});
