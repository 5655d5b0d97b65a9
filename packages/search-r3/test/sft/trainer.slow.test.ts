/**
 * Stage 1's trainer against the same steps in float64, under every option: what a step is made of, what it reports,
 * and how the weights change. Every option also has to change a number, or the comparison would say nothing about it.
 */
import { Session } from 'onnx-grad';
import onnxProto from 'onnx-proto';
import { frozenCopy, Model, type Policy } from 'search-r3/model';
import { randomStream } from 'search-r3/run';
import { type ReasoningTargets, type SftOptions, SftTrainer, sftOptionsSchema } from 'search-r3/sft';
import { EpochSampler } from 'search-r3/train';
import { afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { difference, expectChanges, expectMetrics } from './compare.js';
import { namesIn, optionNames } from './options.js';
import { type ExpectedSftStep, referenceSft } from './reference-sft.js';
import { DATA, QUERIES } from './tiny-data.js';

const policy = tinyPolicy('sft', { layers: 1 });
const base = tinyPolicy('sft base', { layers: 1 });
const VOCABULARY = policy.embedId;
/** As if sampled: of uneven length, one empty. */
const TARGETS: ReasoningTargets = new Map([
  ['q1', [3, 7, 1, 12]],
  ['q2', [5]],
  ['q3', []],
  ['q4', [9, 9, 2, 4, 6, 1]],
  ['q5', [8, 0, 11]],
]);
/** As if sampled by the model itself. */
const OWN: ReasoningTargets = new Map([
  ['q1', [2, 2]],
  ['q2', [11, 4, 7]],
  ['q3', [1]],
  ['q4', []],
  ['q5', [6, 3, 3, 8]],
]);
const data = { ...DATA, targets: TARGETS, own: OWN };

const OPTIONS = {
  steps: 2,
  batchSize: 4,
  seed: 3,
  temperature: 0.2,
  margin: 0.4,
  weights: { kl: 0.5 },
  optimization: { warmupSteps: 0, learningRate: 5e-3, weightDecay: 0.1, finalLearningRate: 0.5 },
} satisfies SftOptions;

/** Options over `OPTIONS`, section by section. */
function merge(changes: SftOptions) {
  return sftOptionsSchema.parse({
    ...OPTIONS,
    ...changes,
    weights: { ...OPTIONS.weights, ...changes.weights },
    optimization: { ...OPTIONS.optimization, ...changes.optimization },
  });
}
type Resolved = ReturnType<typeof merge>;

interface Found {
  metrics: Record<string, number>[];
  weights: Policy['weights'];
}

async function train(options: Resolved, steps = options.steps, given = data): Promise<Found> {
  const own = frozenCopy(policy);
  const model = Model.of(own);
  const trainer = new SftTrainer(model, base, VOCABULARY, given, options);
  const metrics: Record<string, number>[] = [];
  for (let step = 0; step < steps; step++) {
    metrics.push((await trainer.step(step)).metrics as Record<string, number>);
  }
  await trainer.dispose();
  expect(model.version).toBe(steps);
  return { metrics, weights: own.weights };
}

/** The same in float64; which queries a step has is the sampler's word, which has tests of its own. */
function expected(options: Resolved, given = data): Promise<ExpectedSftStep[]> {
  const { batchSize, seed, steps } = options;
  const sampler = new EpochSampler({ count: QUERIES.length, batchSize, seed, label: 'sft' });
  const queries = Array.from({ length: steps }, (_, step) => sampler.batch(step).map((i) => QUERIES[i]!));
  return referenceSft(policy, base, VOCABULARY, given, queries, options);
}

function expectSame(found: Found, steps: readonly ExpectedSftStep[]): void {
  expectMetrics(
    found.metrics,
    steps.map(({ metrics }) => metrics),
  );
  expectChanges(policy.weights, found.weights, steps, 2e-3);
}

let standard: Found;
beforeAll(async () => {
  standard = await train(merge({}));
});
afterEach(() => vi.restoreAllMocks());

test('two steps: metrics and changes', async () => {
  const steps = await expected(merge({}));
  expectSame(standard, steps);
  // Every term is there to be got wrong.
  for (const name of ['info_nce', 'info_nce_reasoned', 'triplet', 'cross_entropy', 'kl']) {
    expect(steps[0]!.metrics[name]).toBeGreaterThan(0.05);
  }
});

const TABLE: [string, SftOptions][] = [
  ['steps', { steps: 3 }],
  ['batchSize', { batchSize: 3 }],
  ['seed', { seed: 4 }],
  ['weights.crossEntropy', { weights: { crossEntropy: 0.3 } }],
  ['weights.crossEntropy 0', { weights: { crossEntropy: 0 } }],
  ['weights.kl', { weights: { kl: 2 } }],
  ['weights.kl 0', { weights: { kl: 0 } }],
  ['weights.infoNce', { weights: { infoNce: 0.2 } }],
  ['weights.infoNce 0', { weights: { infoNce: 0 } }],
  ['weights.triplet', { weights: { triplet: 0.4 } }],
  ['weights.triplet 0', { weights: { triplet: 0 } }],
  ['weights.infoNce 0 and no triplet', { weights: { infoNce: 0, triplet: 0 } }],
  ['weights.crossEntropy 0 and no kl', { weights: { crossEntropy: 0, kl: 0 } }],
  ['temperature', { temperature: 0.05 }],
  ['margin', { margin: 0.9 }],
  ['matryoshka', { matryoshka: [3] }],
  ['matryoshka, several lengths', { matryoshka: [5, 11, 2] }],
  ['reasoning.enabled', { reasoning: { enabled: false } }],
  ['reasoning.contrastiveWeight', { reasoning: { contrastiveWeight: 0.1 } }],
  ['reasoning.ownShare', { reasoning: { ownShare: 1 } }],
  ['tokenEmbeddings', { tokenEmbeddings: 'trained' }],
  ['maxLength', { maxLength: 9 }],
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
  // What is sampled before training: `targets.slow.test.ts`.
  'reasoning.maxNewTokens',
  'reasoning.temperature',
  'reasoning.ownEvery',
  // Where targets come from: `targets/`.
  'reasoning.source',
  'reasoning.file',
  'reasoning.styles',
  'reasoning.filter',
  'reasoning.teacher.url',
  'reasoning.teacher.model',
  'reasoning.teacher.apiKeyVariable',
  'reasoning.teacher.prompt',
  'reasoning.teacher.concurrency',
  'maxQueries',
  // How, not what: below.
  'optimization.maxTokens',
  'optimization.checkpointActivations',
];

test('no option is forgotten', () => {
  const tested = new Set([...namesIn(TABLE), ...OTHERS]);
  expect([...tested].sort()).toEqual(optionNames(sftOptionsSchema).sort());
});

describe('every option changes what is computed as it says', () => {
  test.each(TABLE)('%s', async (_, changes) => {
    const options = merge(changes);
    const found = await train(options);
    expectSame(found, await expected(options));
    expect(difference(found, standard)).toBeGreaterThan(1e-3);
  });
});

test('a query without a target is learnt directly alone', async () => {
  const targets = new Map([...TARGETS].filter(([id]) => id !== 'q2' && id !== 'q5'));
  for (const ownShare of [0, 1]) {
    const options = merge({ reasoning: { ownShare } });
    const found = await train(options, options.steps, { ...data, targets });
    expectSame(found, await expected(options, { ...data, targets }));
    expect(difference(found, standard)).toBeGreaterThan(1e-3);
  }
  const none = { ...data, targets: new Map<string, number[]>() };
  const direct = await train(merge({ reasoning: { enabled: false } }));
  const found = await train(merge({}), 2, none);
  expectMetrics(found.metrics, direct.metrics);
});

describe('options that change how, not what', () => {
  test('optimization.maxTokens with shorter vectors: the gradient cache has the same numbers', async () => {
    const options = merge({ matryoshka: [5, 11], optimization: { maxTokens: 60 } });
    expectSame(await train(options), await expected(options));
  });

  test('optimization.maxTokens: more runs of the model, the same numbers', async () => {
    const run = vi.spyOn(Session.prototype, 'run');
    const training = vi.spyOn(Session.prototype, 'runInPlace');
    expectSame(await train(merge({}), 1), (await expected(merge({ steps: 2 }))).slice(0, 1));
    expect(run).not.toHaveBeenCalled();
    expect(training).toHaveBeenCalledTimes(1);
    training.mockClear();
    const maxTokens = 60;
    const options = merge({ optimization: { maxTokens } });
    const found = await train(options);
    expectSame(found, await expected(options));
    // Per step: every piece embedded, the contrastive term, every piece again.
    const embedded = run.mock.calls.filter(([feeds]) => 'embed_rows' in feeds).length;
    const trained = training.mock.calls.length;
    expect(run).toHaveBeenCalledTimes(trained + options.steps);
    expect(embedded).toBe(trained);
    expect(trained).toBeGreaterThanOrEqual(found.metrics[0]!.tokens! / maxTokens);
    for (const [feeds] of [...run.mock.calls, ...training.mock.calls]) {
      const size = feeds.ids_0?.shape.reduce((a, b) => a * b) ?? 0;
      expect(size).toBeLessThanOrEqual(maxTokens);
    }
  });

  test('optimization.checkpointActivations: layers computed twice, the same numbers', async () => {
    const create = vi.spyOn(Session, 'create');
    const products = async (checkpointActivations: boolean) => {
      create.mockClear();
      const options = merge({ optimization: { checkpointActivations } });
      expectSame(await train(options), await expected(options));
      expect(create).toHaveBeenCalledTimes(1);
      const { graph } = onnxProto.onnx.ModelProto.decode(create.mock.calls[0]![0].bytes);
      return graph?.node?.filter(({ opType }) => opType === 'Gemm').length ?? 0;
    };
    const plain = await products(false);
    const recomputed = await products(true);
    // Six of the seven projections of the layer, in each of the groups that sequences are cut into.
    expect([6, 12]).toContain(recomputed - plain);
  });
});

test.each([3, 4])(
  'positives and hard negatives of a step are drawn from its own stream: seed %i',
  async (seed) => {
    const several = QUERIES.map(({ positives: _, ...query }) => query);
    const NEAR = ['d3', 'd6', 'd7', 'd8'];
    const asked: string[] = [];
    const options = merge({ batchSize: 5, seed, weights: { kl: 0 }, reasoning: { enabled: false } });
    const trainer = new SftTrainer(
      Model.of(frozenCopy(policy)),
      base,
      VOCABULARY,
      {
        ...data,
        queries: several,
        negatives: (_, __, random) => random.choice(NEAR),
        document: (id) => {
          asked.push(id);
          return DATA.document(id);
        },
      },
      options,
    );
    const sampler = new EpochSampler({ count: 5, batchSize: 5, seed, label: 'sft' });
    const drawn: string[] = [];
    // In any order, as a run that is resumed.
    for (const step of [4, 0, 1, 5, 2]) {
      asked.length = 0;
      await trainer.step(step);
      const stream = randomStream(seed, 'sft', 'step', step);
      const own = <T>(items: readonly T[]) => items[Math.floor(stream.uniform() * items.length)]!;
      const positives = sampler.batch(step).map((i) => own([...several[i]!.relevant.keys()]));
      expect(asked).toEqual([...positives, ...positives.map(() => own(NEAR))]);
      drawn.push(asked.slice(5).join());
    }
    await trainer.dispose();
    expect(new Set(drawn).size).toBe(5);
  },
);

test('no hard negative anywhere: no triplet, and nothing breaks', async () => {
  const options = merge({});
  const trainer = new SftTrainer(
    Model.of(frozenCopy(policy)),
    base,
    VOCABULARY,
    { ...data, negatives: () => undefined },
    options,
  );
  const { metrics } = await trainer.step(0);
  await trainer.dispose();
  expect(metrics.triplet).toBe(0);
  expect(metrics.info_nce).toBeGreaterThan(0.05);
});

test('a text is tokenized once in a run, however often it is drawn', async () => {
  const options = merge({ steps: 6, batchSize: 5 });
  const own = { ...frozenCopy(policy), tokenizer: policy.tokenizer.copy() };
  const encode = vi.spyOn(own.tokenizer, 'encodeBatch');
  const trainer = new SftTrainer(Model.of(own), base, VOCABULARY, data, options);
  await trainer.step(0);
  const first = encode.mock.calls.flatMap(([texts]) => texts);
  // Every query is in every batch: prompted directly and to be reasoned about.
  expect(first.filter((prompt) => prompt.includes(QUERIES[0]!.text)).length).toBe(2);
  encode.mockClear();
  for (let step = 1; step < 6; step++) await trainer.step(step);
  await trainer.dispose();
  const answers = [own.prompts.query.assistant, own.prompts.document.assistant];
  expect(new Set(encode.mock.calls.flatMap(([texts]) => texts))).toEqual(new Set(answers));
});

test('a batch larger than the queries is refused', () => {
  const options = merge({ batchSize: 6 });
  expect(() => new SftTrainer(Model.of(frozenCopy(policy)), base, VOCABULARY, data, options)).toThrow(
    /batchSize: expected at most the 5 training queries, found 6/,
  );
});
