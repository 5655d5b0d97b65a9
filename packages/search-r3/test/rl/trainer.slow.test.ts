/**
 * Stage 2's trainer against the same steps in float64, under every option. Only the sampled tokens are taken from the
 * trainer; rewards, ranks, advantages, losses, gradients and changes of the weights are computed anew.
 */
import { type Feeds, Session } from 'onnx-grad';
import onnxProto from 'onnx-proto';
import { type RlOptions, rlOptionsSchema } from 'search-r3/rl';
import { Optimizer } from 'search-r3/train';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { difference, expectChanges, expectMetrics } from '../sft/compare.js';
import { namesIn, optionNames } from '../sft/options.js';
import { type ExpectedRlStep, referenceRl } from './reference-rl.js';
import { policy, type RlRun, train } from './support.js';

/** Not what training starts from, so that the KL penalty counts at once. */
const reference = tinyPolicy('rl reference', { layers: 1 });

const OPTIONS = {
  steps: 2,
  queriesPerStep: 3,
  groupSize: 4,
  seed: 1,
  temperature: 0.7,
  maxNewTokens: 9,
  contrastive: { temperature: 0.2 },
  optimization: { learningRate: 5e-3 },
} satisfies RlOptions;

/** Options over `OPTIONS`, section by section. */
function merge(changes: RlOptions) {
  return rlOptionsSchema.parse({
    ...OPTIONS,
    ...changes,
    contrastive: { ...OPTIONS.contrastive, ...changes.contrastive },
    optimization: { ...OPTIONS.optimization, ...changes.optimization },
  });
}
type Resolved = ReturnType<typeof merge>;

const run = (options: Resolved) => train(options, { reference });
const expected = (options: Resolved, { sampled }: RlRun) =>
  referenceRl(policy, options.beta > 0 ? reference : undefined, sampled, options);

function expectSame(found: RlRun, steps: readonly ExpectedRlStep[]): void {
  expectMetrics(
    found.metrics,
    steps.map(({ metrics }) => metrics),
  );
  for (const [i, { rewards, ranks }] of steps.entries()) {
    const completions = found.records[i]!.completions ?? [];
    expect(completions.map(({ rank }) => rank)).toEqual(ranks);
    expect(completions.map(({ reward }) => reward)).toEqual(rewards.map((value) => expect.closeTo(value, 5)));
  }
  expectChanges(policy.weights, found.weights, steps, 5e-3);
}

let standard: RlRun;
beforeAll(async () => {
  standard = await run(merge({}));
});

test('two steps: rewards, ranks, metrics and changes', async () => {
  const steps = await expected(merge({}), standard);
  expectSame(standard, steps);
  // Everything is there to be got wrong: all outcomes, several rewards, anchors, a group with no variance or some.
  const [first] = steps as [ExpectedRlStep];
  for (const name of ['reward', 'embedded', 'truncated', 'no_embed_token', 'anchors', 'contrastive']) {
    expect(first.metrics[name], name).toBeGreaterThan(0.05);
  }
  expect(new Set(first.rewards).size).toBeGreaterThan(3);
});

const TABLE: [string, RlOptions][] = [
  ['steps', { steps: 3 }],
  ['queriesPerStep', { queriesPerStep: 2 }],
  ['groupSize', { groupSize: 6 }],
  ['seed', { seed: 2 }],
  ['temperature', { temperature: 1.2 }],
  ['maxNewTokens', { maxNewTokens: 5 }],
  ['maxLength', { maxLength: 10 }],
  ['lossNormalization dr_grpo', { lossNormalization: 'dr_grpo' }],
  ['lossNormalization grpo', { lossNormalization: 'grpo' }],
  ['advantageScaling batch', { advantageScaling: 'batch' }],
  ['advantageScaling none', { advantageScaling: 'none' }],
  ['numIterations', { numIterations: 3 }],
  ['clipLow', { numIterations: 3, clipLow: 0.01, clipHigh: 100 }],
  ['clipHigh', { numIterations: 3, clipLow: 0.99, clipHigh: 0.01 }],
  ['beta', { beta: 0.2 }],
  ['policyWeight', { policyWeight: 0.2 }],
  ['policyWeight 0', { policyWeight: 0 }],
  ['contrastive.weight', { contrastive: { weight: 2 } }],
  ['contrastive.weight 0', { contrastive: { weight: 0 } }],
  ['contrastive.temperature', { contrastive: { temperature: 0.05 } }],
  ['contrastive.matryoshka', { contrastive: { matryoshka: [6, 3] } }],
  ['tokenEmbeddings', { tokenEmbeddings: 'trained' }],
  ['maskTruncated', { maskTruncated: true }],
  ['maskTruncated, dr_grpo and beta', { maskTruncated: true, lossNormalization: 'dr_grpo', beta: 0.2 }],
  ['reward.cut', { reward: { cut: 4 } }],
  ['reward.tokenCost', { reward: { tokenCost: 0.01 } }],
  ['optimization.learningRate', { optimization: { learningRate: 1e-3 } }],
  ['optimization.schedule', { optimization: { schedule: 'linear', finalLearningRate: 0.2 } }],
  ['optimization.finalLearningRate', { optimization: { schedule: 'cosine', finalLearningRate: 0.5 } }],
  ['optimization.warmupSteps', { optimization: { warmupSteps: 2 }, steps: 4 }],
  ['optimization.weightDecay', { optimization: { weightDecay: 3 } }],
  ['optimization.betas', { optimization: { betas: [0.5, 0.6] } }],
  ['optimization.maxGradientNorm', { optimization: { maxGradientNorm: 1e-6 } }],
];

/** Tested elsewhere. */
const OTHERS = [
  // With a sampler of other arithmetic: `importance.test.ts`.
  'importanceCap',
  // With rollouts made by hand: `reports.slow.test.ts`.
  'resampleRounds',
  'auditEvery',
  // Which it is: `pipeline/environment.slow.test.ts`; what it does: `environment/`.
  'environment',
  // How, not what: below.
  'optimization.maxTokens',
  'optimization.checkpointActivations',
];

test('no option is forgotten', () => {
  const tested = new Set([...namesIn(TABLE), ...OTHERS]);
  expect([...tested].sort()).toEqual(optionNames(rlOptionsSchema).sort());
});

describe('every option changes what is computed as it says', () => {
  test.each(TABLE)('%s', async (_, changes) => {
    const options = merge(changes);
    const found = await run(options);
    expectSame(found, await expected(options, found));
    expect(difference(found, standard)).toBeGreaterThan(1e-3);
  });
});

afterEach(() => vi.restoreAllMocks());

describe('a schedule counts updates, not steps', () => {
  // Factors on the learning rate by hand, update by update.
  const linear = [1 / 3, 2 / 3, 1, 0.1 + 0.9 * (2 / 3), 0.1 + 0.9 * (1 / 3), 0.1];
  const half = (progress: number) => 0.5 + 0.5 * Math.cos(Math.PI * progress);
  const cosine = [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1].map((progress) => 0.2 + 0.8 * half(progress));
  const CASES: [string, RlOptions, number[]][] = [
    [
      '3 steps of 2 updates, 3 of warm-up, linear to a tenth',
      {
        steps: 3,
        numIterations: 2,
        optimization: { schedule: 'linear', warmupSteps: 3, finalLearningRate: 0.1 },
      },
      linear,
    ],
    [
      '2 steps of 3 updates, cosine to a fifth',
      {
        steps: 2,
        numIterations: 3,
        optimization: { schedule: 'cosine', warmupSteps: 0, finalLearningRate: 0.2 },
      },
      cosine,
    ],
  ];

  test.each(CASES)('%s', async (_, changes, factors) => {
    const update = vi.spyOn(Optimizer.prototype, 'update');
    const options = merge(changes);
    const found = await run(options);
    expect(update.mock.calls.map(([number]) => number)).toEqual([0, 1, 2, 3, 4, 5]);
    expect(update.mock.results.map(({ value }) => value.learningRate)).toEqual(
      factors.map((factor) => expect.closeTo(5e-3 * factor, 12)),
    );
    // A step reports the rate of its last update.
    const last = found.metrics.map(({ learning_rate }) => learning_rate);
    const each = options.numIterations;
    expect(last).toEqual(
      last.map((_rate, step) => expect.closeTo(5e-3 * factors[(step + 1) * each - 1]!, 12)),
    );
    expectSame(found, await expected(options, found));
  });
});

describe('options that change how, not what', () => {
  test('optimization.maxTokens: more runs of the model, the same numbers', async () => {
    const labelled = [vi.spyOn(Session.prototype, 'run'), vi.spyOn(Session.prototype, 'runInPlace')];
    const runs = () =>
      labelled.flatMap(({ mock }) =>
        mock.calls.filter(([feeds]) =>
          Object.keys(feeds as Feeds).some((name) => name.startsWith('label_rows')),
        ),
      );
    const once = merge({ steps: 1, beta: 0.2 });
    await run(once);
    // The reference's log-probabilities, and the gradients.
    expect(runs().length).toBe(2);
    for (const spy of labelled) spy.mockClear();
    const maxTokens = 40;
    const options = merge({ steps: 1, beta: 0.2, optimization: { maxTokens } });
    const found = await run(options);
    expectSame(found, await expected(options, found));
    expect(runs().length).toBeGreaterThan(6);
    for (const [feeds] of runs()) {
      expect((feeds.ids ?? feeds.ids_0)!.shape.reduce((a, b) => a * b)).toBeLessThanOrEqual(maxTokens);
    }
  });

  test('optimization.checkpointActivations: layers computed twice, the same numbers', async () => {
    const create = vi.spyOn(Session, 'create');
    const products = async (checkpointActivations: boolean) => {
      create.mockClear();
      const options = merge({ steps: 1, optimization: { checkpointActivations } });
      const found = await run(options);
      expectSame(found, await expected(options, found));
      const programs = create.mock.calls.map(([program]) => program);
      const training = programs.find(({ outputs }) => outputs.has('gradient:model.norm.weight'));
      const { graph } = onnxProto.onnx.ModelProto.decode(training!.bytes);
      return graph?.node?.filter(({ opType }) => opType === 'Gemm').length ?? 0;
    };
    const plain = await products(false);
    const recomputed = await products(true);
    // Six of the seven projections of the layer, in each of the groups that sequences are cut into.
    expect([6, 12]).toContain(recomputed - plain);
  });
});
