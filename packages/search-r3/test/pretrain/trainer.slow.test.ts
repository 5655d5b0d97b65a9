/** Pre-training against the same steps in float64, under every option of the trainer. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Session } from 'onnx-grad';
import onnxProto from 'onnx-proto';
import type { Checkpoint } from 'search-r3/checkpoint';
import { frozenCopy } from 'search-r3/model';
import {
  type PretrainOptions,
  PretrainTrainer,
  pretrainOptionsSchema,
  type TextPair,
} from 'search-r3/pretrain';
import { randomStream } from 'search-r3/run';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyBase } from '../decoder/tiny-policy.js';
import { crossEntropy, infoNce } from '../reference/losses.js';
import { embeddings } from '../reference/objectives.js';
import { add, concat, mul, slice } from '../reference/tape.js';
import { referenceTraining } from '../reference/train.js';
import { difference, expectChanges, expectMetrics, type Outcome } from '../sft/compare.js';
import { namesIn, optionNames } from '../sft/options.js';
import { referenceOptimizer, referenceRate } from '../sft/reference-sft.js';

const base = tinyBase('pretrain', { layers: 1, tieWordEmbeddings: true });
/** Ragged; another batch every step. */
const source = (step: number): number[][] => {
  const random = randomStream(5, 'text', step);
  return Array.from({ length: 5 }, () =>
    Array.from({ length: 2 + random.integer(12) }, () => random.integer(base.config.vocabSize)),
  );
};

/** Three pairs of ragged texts, the first and the last of the same document. */
const pairs = (step: number): TextPair[] => {
  const random = randomStream(5, 'pairs', step);
  const text = () =>
    Array.from({ length: 2 + random.integer(6) }, () => random.integer(base.config.vocabSize));
  return ['a', 'b', 'a'].map((id) => ({ id, query: text(), document: text() }));
};

const OPTIONS = {
  steps: 2,
  optimization: { learningRate: 5e-3, warmupSteps: 0, finalLearningRate: 0.5 },
} satisfies PretrainOptions;

const merge = (changes: PretrainOptions) =>
  pretrainOptionsSchema.parse({
    ...OPTIONS,
    ...changes,
    optimization: { ...OPTIONS.optimization, ...changes.optimization },
  });
type Resolved = ReturnType<typeof merge>;

async function train(options: Resolved, model: Checkpoint = frozenCopy(base)): Promise<Outcome> {
  const trainer = new PretrainTrainer(
    model,
    async (step) => source(step),
    options,
    ...(options.contrastive.batchSize > 0 ? [async (step: number) => pairs(step)] : []),
  );
  const metrics = [];
  for (let step = 0; step < options.steps; step++) {
    metrics.push((await trainer.step(step)).metrics as Record<string, number>);
  }
  await trainer.dispose();
  return { metrics, weights: model.weights };
}

/** The mean cross-entropy of every token but the first of each sequence. */
function expectSame(found: Outcome, options: Resolved): void {
  const batches = Array.from({ length: options.steps }, (_, step) => source(step));
  const rate = (step: number) => referenceRate(options.optimization, step, options.steps);
  const contrastive: number[] = [];
  const steps = referenceTraining(base.config, base.weights, batches, {
    optimizer: referenceOptimizer(options.optimization),
    learningRate: rate,
    objective: (model, sequences) => {
      const step = batches.indexOf(sequences);
      const rows = sequences.map((ids) => slice(model.forward(ids).logits, 0, 0, ids.length - 1));
      const targets = sequences.flatMap((ids) => ids.slice(1));
      const reading = crossEntropy(concat(rows, 0), targets);
      const { batchSize, temperature, weight } = options.contrastive;
      if (batchSize === 0) return reading;
      const drawn = pairs(step);
      const term = infoNce(
        embeddings(
          model,
          drawn.map(({ query }) => query),
        ),
        embeddings(
          model,
          drawn.map(({ document }) => document),
        ),
        [0, 1, 2],
        temperature,
        drawn.map(({ id }, q) => drawn.map((other, d) => d !== q && other.id === id)),
      );
      contrastive.push(term.item());
      return add(reading, mul(term, weight));
    },
  });
  expectMetrics(
    found.metrics,
    steps.map(({ loss, gradientNorm }, step) => ({
      loss,
      ...(contrastive.length > 0 && { info_nce: contrastive[step] as number }),
      gradient_norm: gradientNorm,
      learning_rate: rate(step),
      tokens: batches[step]!.reduce((total, ids) => total + ids.length - 1, 0),
    })),
  );
  expectChanges(base.weights, found.weights, steps, 2e-3);
}

let standard: Outcome;
beforeAll(async () => {
  standard = await train(merge({}));
});
afterEach(() => vi.restoreAllMocks());

test('two steps: metrics and changes', () => expectSame(standard, merge({})));

const TABLE: [string, PretrainOptions][] = [
  ['steps', { steps: 3 }],
  ['contrastive.batchSize', { contrastive: { batchSize: 3 } }],
  ['optimization.learningRate', { optimization: { learningRate: 1e-3 } }],
  ['optimization.schedule', { optimization: { schedule: 'cosine', warmupSteps: 1 }, steps: 3 }],
  ['optimization.schedule constant', { optimization: { schedule: 'constant' } }],
  ['optimization.warmupSteps', { optimization: { warmupSteps: 2 }, steps: 4 }],
  ['optimization.finalLearningRate', { optimization: { finalLearningRate: 0.1 } }],
  ['optimization.weightDecay', { optimization: { weightDecay: 3 } }],
  ['optimization.betas', { optimization: { betas: [0.5, 0.6] } }],
  ['optimization.maxGradientNorm', { optimization: { maxGradientNorm: 1e-6 } }],
];

/** Tested elsewhere. */
const OTHERS = [
  // What is read: `sources.test.ts` and `collection.test.ts`.
  'batchSize',
  'maxLength',
  'seed',
  'contrastive.maxLength',
  // Below, against the pairs alone.
  'contrastive.weight',
  'contrastive.temperature',
  // How, not what: below.
  'optimization.maxTokens',
  'optimization.checkpointActivations',
];

test('no option is forgotten', () => {
  const tested = new Set([...namesIn(TABLE), ...OTHERS]);
  expect([...tested].sort()).toEqual(optionNames(pretrainOptionsSchema).sort());
});

test.each(TABLE)('%s changes what is computed as it says', async (_, changes) => {
  const options = merge(changes);
  const found = await train(options);
  expectSame(found, options);
  expect(difference(found, standard)).toBeGreaterThan(1e-3);
});

test.each([
  ['weight', { weight: 0.3 }],
  ['temperature', { temperature: 0.5 }],
])('contrastive.%s changes what pairs do', async (_, changes) => {
  const options = merge({ contrastive: { batchSize: 3, ...changes } });
  const found = await train(options);
  expectSame(found, options);
  expect(difference(found, await train(merge({ contrastive: { batchSize: 3 } })))).toBeGreaterThan(1e-3);
});

describe('options that change how, not what', () => {
  test('optimization.maxTokens: more runs of the model, the same numbers', async () => {
    const run = vi.spyOn(Session.prototype, 'runInPlace');
    const options = merge({ optimization: { maxTokens: 20 } });
    expectSame(await train(options), options);
    expect(run.mock.calls.length).toBeGreaterThan(2 * options.steps);
    for (const [feeds] of run.mock.calls) {
      expect(feeds.ids_0!.shape.reduce((a, b) => a * b)).toBeLessThanOrEqual(20);
    }
  });

  test('optimization.checkpointActivations: layers computed twice, the same numbers', async () => {
    const create = vi.spyOn(Session, 'create');
    const products = async (checkpointActivations: boolean) => {
      create.mockClear();
      const options = merge({ optimization: { checkpointActivations } });
      expectSame(await train(options), options);
      const { graph } = onnxProto.onnx.ModelProto.decode(create.mock.calls[0]![0].bytes);
      return graph?.node?.filter(({ opType }) => opType === 'Gemm').length ?? 0;
    };
    const plain = await products(false);
    expect([6, 12]).toContain((await products(true)) - plain);
  });
});

test('saved after one step and restored, the second ends to the bit where a straight run does', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'pretrain-'));
  try {
    const first = new PretrainTrainer(frozenCopy(base), async (step) => source(step), merge({}));
    await first.step(0);
    await first.save(folder);
    await first.dispose();
    const model = frozenCopy(base);
    const second = new PretrainTrainer(model, async (step) => source(step), merge({}));
    await second.restore(folder);
    const { metrics } = await second.step(1);
    await second.dispose();
    expect(metrics).toEqual(standard.metrics[1]);
    for (const [name, { data }] of standard.weights) expect(model.weights.get(name)!.data).toEqual(data);
  } finally {
    await rm(folder, { recursive: true });
  }
});
