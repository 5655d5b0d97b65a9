/** AdamW by hand, and whole objectives through the decoder against central differences. */
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { AdamW, globalNorm } from './adamw.js';
import { asParameters } from './decoder.js';
import { directionalDerivative, norm } from './finite-differences.js';
import {
  TINY_CONFIGS,
  TINY_GRPO_OPTIONS,
  TINY_SFT_OPTIONS,
  tinyGrpoBatch,
  tinySftBatch,
  tinyWeights,
} from './fixtures.js';
import { policyGradientTokens, tokenLogProbs } from './losses.js';
import { grpoObjective, type ReferenceModel, referenceModel, sftObjective } from './objectives.js';
import { constant, gradients, type Tensor } from './tape.js';
import { referenceTraining } from './train.js';

const frozen = (config: (typeof TINY_CONFIGS)[number], label = 'weights'): ReferenceModel =>
  referenceModel(
    config,
    asParameters(tinyWeights(config, label), () => false),
  );

describe('AdamW', () => {
  test('two steps by hand', () => {
    const weights = new Map([['w', Float64Array.of(2)]]);
    const optimizer = new AdamW({
      learningRate: 0.1,
      beta1: 0.5,
      beta2: 0.75,
      epsilon: 0.5,
      weightDecay: 0.2,
    });
    // m = 2, v = 4; corrected 4 and 16: 2 (1 - 0.02) - 0.1 x 4 / (4 + 0.5).
    optimizer.update(weights, new Map([['w', Float64Array.of(4)]]));
    const first = 2 * 0.98 - 0.4 / 4.5;
    expect(weights.get('w')![0]).toBeCloseTo(first, 14);
    // m = 0.5 x 2 - 0.5 = 0.5, v = 0.75 x 4 + 0.25 = 3.25; corrected by 3/4 and 7/16; the rate of this step is 0.2.
    optimizer.update(weights, new Map([['w', Float64Array.of(-1)]]), 0.2);
    const second = first * 0.96 - (0.2 * (0.5 / 0.75)) / (Math.sqrt(3.25 / 0.4375) + 0.5);
    expect(weights.get('w')![0]).toBeCloseTo(second, 14);
  });

  test('decay only where wanted, and none for what has no gradient', () => {
    const weights = new Map(['a', 'b', 'c'].map((name) => [name, Float64Array.of(1)]));
    const optimizer = new AdamW({ learningRate: 0.5, weightDecay: 0.1, decays: (name) => name !== 'b' });
    optimizer.update(weights, new Map(['a', 'b'].map((name) => [name, Float64Array.of(0)])));
    expect([...weights.values()].map((weight) => weight[0])).toEqual([0.95, 1, 1]);
  });

  test('clipping scales all tensors by one factor, and only where the norm is larger', () => {
    const changes = (maxGradNorm: number | undefined, ...scales: number[]) => {
      const weights = new Map([
        ['a', Float64Array.of(0)],
        ['b', Float64Array.of(0)],
      ]);
      // A large epsilon, so that the step is nearly proportional to the gradient.
      const optimizer = new AdamW({
        learningRate: 1e6,
        epsilon: 1e6,
        ...(maxGradNorm === undefined ? {} : { maxGradNorm }),
      });
      const gradient = new Map([...'ab'].map((name, i) => [name, Float64Array.of(scales[i]!)]));
      optimizer.update(weights, gradient);
      return [...weights.values()].map((weight) => weight[0]!);
    };
    expect(changes(1, 3, 4)).toEqual([expect.closeTo(-0.6, 5), expect.closeTo(-0.8, 5)]);
    expect(changes(6, 3, 4)).toEqual(changes(undefined, 3, 4));
    expect(globalNorm(new Map([...'ab'].map((name, i) => [name, Float64Array.of(3 + i)])))).toBe(5);
  });
});

describe('objectives', () => {
  const config = TINY_CONFIGS[1]!;
  const model = frozen(config);

  /** Along one random direction per tensor: every element takes part. */
  function expectGradients(objective: (model: ReferenceModel) => Tensor): void {
    const parameters = asParameters(tinyWeights(config));
    const random = randomStream(6, 'directions');
    const trained = referenceModel(config, parameters);
    const leaves = [...parameters.values()];
    for (const [i, gradient] of gradients(objective(trained), leaves).entries()) {
      const { data } = leaves[i]!;
      const along = Float64Array.from(data, () => random.normal() / Math.sqrt(data.length));
      const expected = directionalDerivative(() => objective(trained).item(), data, along, 1e-4);
      const found = gradient.reduce((total, g, j) => total + g * along[j]!, 0);
      expect(Math.abs(found - expected), [...parameters.keys()][i]).toBeLessThan(1e-6 * norm(gradient));
    }
  }

  test('stage 1: gradients are those of central differences', () => {
    const base = frozen(config, 'base');
    expectGradients((policy) => sftObjective(policy, base, tinySftBatch(), TINY_SFT_OPTIONS).loss);
  });

  test('stage 2: gradients are those of central differences', () => {
    const batch = tinyGrpoBatch(model);
    expectGradients((policy) => grpoObjective(policy, batch, TINY_GRPO_OPTIONS).loss);
  });

  test('stage 1: every term counts on the tiny batch, and the loss is their weighted sum', () => {
    const terms = sftObjective(model, frozen(config, 'base'), tinySftBatch(), TINY_SFT_OPTIONS);
    const { crossEntropy, kl, infoNce, triplet } = terms;
    for (const term of [crossEntropy, kl, infoNce, triplet]) expect(term.item()).toBeGreaterThan(0.01);
    expect(terms.loss.item()).toBeCloseTo(
      crossEntropy.item() + 0.1 * kl.item() + infoNce.item() + triplet.item(),
      12,
    );
  });

  test('stage 1: the KL term leaves the embed token out, the cross-entropy does not', () => {
    const batch = tinySftBatch();
    // The third target consists of the embed token alone.
    const without = { ...batch, targets: batch.targets.slice(0, 2) };
    const base = frozen(config, 'base');
    const [whole, part] = [batch, without].map((b) => sftObjective(model, base, b, TINY_SFT_OPTIONS));
    expect(whole!.kl.item()).toBeCloseTo(part!.kl.item(), 12);
    const { tokens, start } = batch.targets[2]!;
    const last = -tokenLogProbs(model.forward(tokens).logits, tokens, start, 1).item();
    expect(12 * whole!.crossEntropy.item()).toBeCloseTo(11 * part!.crossEntropy.item() + last, 10);
  });

  test('stage 2: the fixture clips ratios on both sides, and masks and excludes', () => {
    const batch = tinyGrpoBatch(model);
    const ratios = batch.completions.flatMap(({ tokens, start, oldLogProbs, advantage, masked }) => {
      if (masked) return [];
      const logProbs = tokenLogProbs(model.forward(tokens).logits, tokens, start, 0.7);
      const losses = policyGradientTokens(
        { logProbs, oldLogProbs, advantage },
        { ...TINY_GRPO_OPTIONS, beta: 0 },
      );
      return Array.from(losses.data, (value) => -value / advantage);
    });
    expect(ratios.filter((ratio) => Math.abs(ratio - 1.28) < 1e-12).length).toBeGreaterThan(0);
    expect(ratios.filter((ratio) => Math.abs(ratio - 0.8) < 1e-12).length).toBeGreaterThan(0);
  });

  test('stage 2: without a better completion there is no contrastive term', () => {
    const batch = tinyGrpoBatch(model);
    const completions = batch.completions.map((completion) => ({ ...completion, advantage: -1 }));
    const none = grpoObjective(model, { ...batch, completions }, TINY_GRPO_OPTIONS);
    expect(none.contrastive.item()).toBe(0);
    const some = grpoObjective(model, batch, TINY_GRPO_OPTIONS);
    expect(some.contrastive.item()).toBeGreaterThan(0.01);
    expect(some.loss.item()).toBeCloseTo(some.policyGradient.item() + 0.3 * some.contrastive.item(), 12);
  });
});

describe('training', () => {
  const config = TINY_CONFIGS[2]!;
  const weights = tinyWeights(config);
  const base = frozen(config, 'base');
  const objective = (model: ReferenceModel, batch: ReturnType<typeof tinySftBatch>) =>
    sftObjective(model, base, batch, TINY_SFT_OPTIONS).loss;
  const optimizer = { learningRate: 0.01, maxGradNorm: 1 };

  test('steps build on each other, and the loss on a repeated batch falls', () => {
    const batch = tinySftBatch();
    const steps = referenceTraining(config, weights, [batch, batch, batch, batch], { objective, optimizer });
    const losses = steps.map(({ loss }) => loss);
    expect(losses).toEqual(losses.toSorted((a, b) => b - a));
    const moved = new Map(
      Array.from(weights, ([name, { shape, data }]) => [
        name,
        { shape, data: Array.from(data, (value, i) => value + steps[0]!.changes.get(name)![i]!) },
      ]),
    );
    const second = objective(
      referenceModel(
        config,
        asParameters(moved, () => false),
      ),
      batch,
    );
    expect(losses[1]).toBeCloseTo(second.item(), 12);
  });

  test('only what is trainable has gradients and changes, and the norm is theirs', () => {
    const trainable = (name: string) => name.includes('layers.1.mlp');
    const [step] = referenceTraining(config, weights, [tinySftBatch()], { objective, optimizer, trainable });
    const names = ['gate', 'up', 'down'].map((part) => `model.layers.1.mlp.${part}_proj.weight`);
    expect([...step!.gradients.keys()]).toEqual(names);
    expect([...step!.changes.keys()]).toEqual(names);
    const [whole] = referenceTraining(config, weights, [tinySftBatch()], { objective, optimizer });
    for (const name of names) expect(step!.gradients.get(name)).toEqual(whole!.gradients.get(name));
    expect(step!.gradientNorm).toBeLessThan(whole!.gradientNorm);
    expect(step!.gradientNorm).toBeCloseTo(globalNorm(step!.gradients), 14);
  });

  test('the rate of a step can be scheduled', () => {
    const batch = tinySftBatch();
    const run = (learningRate: (step: number) => number) =>
      referenceTraining(config, weights, [batch, batch], {
        objective,
        optimizer: { learningRate: 1, epsilon: 0 },
        learningRate,
        trainable: (name) => name === 'model.norm.weight',
      });
    const [first, second] = run((step) => (step === 0 ? 0 : 0.02));
    expect(Math.max(...first!.changes.get('model.norm.weight')!)).toBe(0);
    expect(second!.loss).toBe(first!.loss);
    // With the same gradient twice the corrected moments are those of one step: the change is rate x sign.
    const gradient = first!.gradients.get('model.norm.weight')!;
    const change = second!.changes.get('model.norm.weight')!;
    expect(Array.from(change)).toEqual(Array.from(gradient, (g) => expect.closeTo(-0.02 * Math.sign(g), 12)));
  });

  test('adapters are trained with the rest frozen', () => {
    const name = 'model.layers.0.self_attn.v_proj';
    const [rows, columns] = weights.get(`${name}.weight`)!.shape as [number, number];
    const random = randomStream(8, 'adapter');
    const adapted = new Map(weights)
      .set(`${name}.lora_A.weight`, {
        shape: [2, columns],
        data: Array.from({ length: 2 * columns }, () => random.normal()),
      })
      .set(`${name}.lora_B.weight`, { shape: [rows, 2], data: new Float64Array(rows * 2) });
    const [step] = referenceTraining(config, adapted, [tinySftBatch()], {
      objective,
      optimizer,
      trainable: (weight) => weight.includes('lora'),
      decoder: { loraScale: 0.5 },
    });
    const [plain] = referenceTraining(config, weights, [tinySftBatch()], { objective, optimizer });
    expect(step!.loss).toBeCloseTo(plain!.loss, 12);
    // d loss / d B = scale x (d loss / d W) A^T; with B = 0 nothing reaches A.
    const toWeight = plain!.gradients.get(`${name}.weight`)!;
    const a = adapted.get(`${name}.lora_A.weight`)!.data;
    const expected = Array.from({ length: rows * 2 }, (_, i) => {
      const [row, rank] = [Math.floor(i / 2), i % 2];
      let total = 0;
      for (let j = 0; j < columns; j++) total += 0.5 * toWeight[row * columns + j]! * a[rank * columns + j]!;
      return expect.closeTo(total, 10);
    });
    expect(Array.from(step!.gradients.get(`${name}.lora_B.weight`)!)).toEqual(expected);
    expect(globalNorm(new Map([['a', step!.gradients.get(`${name}.lora_A.weight`)!]]))).toBe(0);
  });

  test('the weights handed in stay as they are', () => {
    const before = new Map(Array.from(weights, ([name, { data }]) => [name, Array.from(data)]));
    referenceTraining(config, weights, [tinySftBatch()], { objective, optimizer });
    expect(new Map(Array.from(weights, ([name, { data }]) => [name, Array.from(data)]))).toEqual(before);
  });
});

test('a constant loss trains nothing', () => {
  const config = TINY_CONFIGS[0]!;
  const [step] = referenceTraining(config, tinyWeights(config), [0], {
    objective: () => constant(3),
    optimizer: { learningRate: 0.1 },
  });
  expect([step!.loss, step!.gradientNorm, globalNorm(step!.changes)]).toEqual([3, 0, 0]);
});
