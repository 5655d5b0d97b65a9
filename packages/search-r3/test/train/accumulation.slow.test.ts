/**
 * One large run, two groups, and many pieces give the same loss and gradients, the contrastive and KL terms included
 * (1x8 = 8x1); recomputed activations change nothing; what is frozen gets no gradient.
 */
import onnxProto from 'onnx-proto';
import { fullTraining } from 'search-r3/decoder';
import {
  chunkByLength,
  collate,
  type GradientEngine,
  gradientName,
  type Objective,
  type StepGradients,
  type StepRequest,
  splitByLength,
  type TrainingSequence,
  trainingProgram,
} from 'search-r3/train';
import { describe, expect, test } from 'vitest';
import { tinyModel } from '../decoder/tiny.js';
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
import { referenceModel } from '../reference/objectives.js';
import {
  adapted,
  grpoEngine,
  grpoEngineOf,
  grpoRequest,
  sftEngine,
  sftEngineOf,
  sftRequest,
} from './requests.js';

const config = TINY_CONFIGS[1]!;
const base = tinyModel(config, tinyWeights(config, 'base'));
const sampler = referenceModel(
  config,
  asParameters(tinyWeights(config), () => false),
);

const STAGES: [
  string,
  StepRequest,
  (extra: { maxTokens?: number; checkpoint?: boolean }) => GradientEngine,
][] = [
  [
    'stage 1',
    sftRequest(tinySftBatch(), TINY_SFT_OPTIONS),
    (extra) => sftEngine(tinyModel(config), base, extra),
  ],
  [
    'stage 2',
    grpoRequest(tinyGrpoBatch(sampler), TINY_GRPO_OPTIONS),
    (extra) => grpoEngine(tinyModel(config), extra),
  ],
  [
    'stage 1, an adapter',
    sftRequest(tinySftBatch(), TINY_SFT_OPTIONS),
    (extra) => sftEngineOf(base.config, adapted(tinyModel(config)), undefined, extra),
  ],
  [
    'stage 2, an adapter',
    grpoRequest(tinyGrpoBatch(sampler), TINY_GRPO_OPTIONS),
    (extra) => grpoEngineOf(base.config, adapted(tinyModel(config)), extra),
  ],
  // The masks belong to tokens, not to their place in a batch.
  [
    'stage 1, an adapter with dropout',
    { ...sftRequest(tinySftBatch(), TINY_SFT_OPTIONS), seed: 3 },
    (extra) => sftEngineOf(base.config, adapted(tinyModel(config), { dropout: 0.4 }), undefined, extra),
  ],
];

async function compute(engine: GradientEngine, request: StepRequest): Promise<StepGradients> {
  try {
    return await engine.compute(request);
  } finally {
    await engine.dispose();
  }
}

function expectEqual(found: StepGradients, expected: StepGradients): void {
  expect(found.loss).toBeCloseTo(expected.loss, 5);
  expect(found.sums.kl).toBeCloseTo(expected.sums.kl!, 6);
  expect(Object.keys(found.anchors)).toEqual(Object.keys(expected.anchors));
  for (const [name, values] of Object.entries(expected.anchors)) {
    expect(relativeError(found.anchors[name]!, values), name).toBeLessThan(1e-5);
  }
  expect(Object.keys(found.labels)).toEqual(Object.keys(expected.labels));
  for (const [name, sequences] of Object.entries(expected.labels)) {
    for (const [sequence, values] of sequences.entries()) {
      if (values.length === 0) continue;
      expect(relativeError(found.labels[name]![sequence]!, values), name).toBeLessThan(1e-5);
    }
  }
  expect([...found.gradients.keys()]).toEqual([...expected.gradients.keys()]);
  for (const [name, gradient] of expected.gradients) {
    expect(relativeError(found.gradients.get(name)!, gradient), name).toBeLessThan(1e-5);
  }
}

describe.each(STAGES)('%s', (_, request, engine) => {
  const chunks = (maxTokens: number) => chunkByLength(request.sequences, maxTokens).length;

  test('a piece for every sequence, and pieces of a few, equal one run', async () => {
    const whole = await compute(engine({}), request);
    expect(whole.sums.kl).toBeGreaterThan(1e-4);
    expect(whole.anchors.infoNce!.every((loss) => loss > 1e-3)).toBe(true);
    expect(chunks(1)).toBe(request.sequences.length);
    expect(chunks(25)).toBeGreaterThan(2);
    expect(chunks(25)).toBeLessThan(request.sequences.length);
    for (const maxTokens of [1, 25]) expectEqual(await compute(engine({ maxTokens }), request), whole);
  });

  test('token terms alone, in pieces', async () => {
    const { contrastive: _, ...alone } = request;
    const whole = await compute(engine({}), alone);
    expect(whole.anchors).toEqual({});
    const pieces = await compute(engine({ maxTokens: 25 }), alone);
    expect(pieces.loss).toBeCloseTo(whole.loss, 5);
    for (const [name, gradient] of whole.gradients) {
      expect(relativeError(pieces.gradients.get(name)!, gradient), name).toBeLessThan(1e-5);
    }
  });

  test('programs that take turns, as those of large models do, give what they give side by side', async () => {
    const { contrastive: _, ...alone } = request;
    const [whole, tokens] = [await compute(engine({}), request), await compute(engine({}), alone)];
    // So many tokens in a run would be too much memory for two sessions.
    const turns = engine({ maxTokens: 1e7 });
    for (const [given, expected] of [
      [request, whole],
      [alone, tokens],
      [request, whole],
    ] as const) {
      const found = await turns.compute(given);
      expect(found.loss).toBe(expected.loss);
      for (const [name, gradient] of expected.gradients) expect(found.gradients.get(name)).toEqual(gradient);
    }
    await turns.dispose();
  });

  test('recomputed activations give equal gradients, whole and in pieces', async () => {
    const whole = await compute(engine({}), request);
    for (const extra of [{}, { maxTokens: 25 }]) {
      expectEqual(await compute(engine({ ...extra, checkpoint: true }), request), whole);
    }
  });
});

test('sequences of very different lengths run as two groups, with the same numbers', async () => {
  const [, request, engine] = STAGES[0]!;
  const long = Array.from({ length: 60 }, (_, i) => (i * 7) % 22);
  const uneven: StepRequest = {
    ...request,
    sequences: request.sequences.map((sequence, i) =>
      // Behind what is labelled and embedded nothing changes the loss: causal attention.
      i === 1 ? { ...sequence, ids: [...sequence.ids, ...long] } : sequence,
    ),
  };
  expect(splitByLength(uneven.sequences).map((group) => group.length)).toEqual([
    request.sequences.length - 1,
    1,
  ]);
  expectEqual(await compute(engine({}), uneven), await compute(engine({ maxTokens: 25 }), request));
});

const ofLengths = (...lengths: number[]): TrainingSequence[] =>
  lengths.map((length) => ({ ids: new Array<number>(length).fill(1), labels: [] }));

describe('collate', () => {
  test('the cut in two groups is the one with the fewest padded tokens', () => {
    for (const lengths of [[9, 3, 40, 4, 38, 5], [7, 7, 7, 7], [2, 50], [6], [31, 2, 9, 2, 30, 33, 8]]) {
      const sequences = ofLengths(...lengths);
      const groups = splitByLength(sequences);
      expect(groups.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, i) => i));
      const cost = (members: readonly number[]) => members.length * Math.max(0, ...members);
      const ascending = lengths.toSorted((a, b) => a - b);
      const whole = cost(lengths);
      const best = Math.min(
        ...lengths.map((_, cut) => cost(ascending.slice(0, cut)) + cost(ascending.slice(cut))),
      );
      const found = collate(sequences, groups, String).tokens;
      expect(found).toBe(best <= 0.9 * whole ? best : whole);
    }
  });

  test('pieces hold every sequence once and keep to the budget where a sequence does', () => {
    const lengths = [9, 3, 40, 4, 38, 5, 1];
    const pieces = chunkByLength(ofLengths(...lengths), 20);
    // By length: 1, 3, 4, 5 (20 tokens), 9, 38, 40 (each beyond what its neighbour leaves).
    expect(pieces).toEqual([[6, 1, 3, 5], [0], [4], [2]]);
  });
});

const operators = (bytes: Uint8Array): string[] =>
  (onnxProto.onnx.ModelProto.decode(bytes).graph?.node ?? []).map(({ opType }) => String(opType));

test('the frozen base gets a forward pass and nothing else', () => {
  const objective: Objective = {
    crossEntropy: {},
    infoNce: { temperature: 1 },
    triplet: { margin: 0 },
  };
  const options = { objective, groups: 1, parts: 1, embeddings: 'inGraph' as const, checkpoint: false };
  const model = tinyModel(config);
  const weights = fullTraining(model);
  const trained = trainingProgram(model.config, weights, options);
  const withBase = trainingProgram(model.config, weights, {
    ...options,
    objective: { ...objective, kl: { base, vocabulary: 22 } },
  });
  const gradients = [...withBase.outputs.keys()].filter((name) => name.startsWith('gradient'));
  expect(gradients.sort()).toEqual([...model.weights.keys()].map(gradientName).sort());
  const products = (program: { bytes: Uint8Array }) =>
    operators(program.bytes).filter((type) => type === 'Gemm').length;
  // Seven projections a layer and the head, once; a backward pass would double or triple that.
  expect(products(withBase) - products(trained)).toBe(7 * config.layers + 1);
  // Recomputing a layer repeats its projections, but not the last: its result is known.
  const recomputed = trainingProgram(model.config, weights, { ...options, checkpoint: true });
  expect(products(recomputed) - products(trained)).toBe(6 * config.layers);
});

test('a piece without labels stays finite with logits of any size, beta or not', async () => {
  const [, request] = STAGES[1]!;
  const weights = tinyWeights(config);
  const norm = weights.get('model.norm.weight')!;
  const sharp = new Map([
    ...weights,
    ['model.norm.weight', { ...norm, data: Float32Array.from(norm.data, (x) => 300 * x) }],
  ]);
  const unlikely = request.sequences.map((sequence) => ({
    ...sequence,
    labels: sequence.labels.map((label) => ({ ...label, referenceLogProbability: -3000 })),
  }));
  const own = { ...request, sequences: unlikely };
  const engine = (extra: { maxTokens?: number }) => grpoEngine(tinyModel(config, sharp), extra);
  const whole = await compute(engine({}), own);
  expect(Number.isFinite(whole.loss)).toBe(true);
  const pieces = await compute(engine({ maxTokens: 1 }), own);
  expect(pieces.loss / whole.loss).toBeCloseTo(1, 5);
  for (const [name, gradient] of whole.gradients) {
    expect(relativeError(pieces.gradients.get(name)!, gradient), name).toBeLessThan(1e-4);
  }
});

test('the base of an adapter is the model below it, without a second copy', async () => {
  const request = sftRequest(tinySftBatch(), TINY_SFT_OPTIONS);
  const model = tinyModel(config);
  const weights = adapted(model);
  const own = await compute(sftEngineOf(model.config, weights, undefined), request);
  const gradients = new Map([...own.gradients].map(([name, values]) => [name, values.slice()]));
  const copy = await compute(sftEngineOf(model.config, weights, tinyModel(config)), request);
  expect([...gradients.keys()].sort()).toEqual([...weights.trained.keys()].sort());
  expectEqual(copy, { ...own, gradients });
  expect(own.sums.kl).toBeGreaterThan(1e-3);
  const program = trainingProgram(model.config, weights, {
    objective: { kl: { vocabulary: 22 } },
    groups: 1,
    parts: 1,
    embeddings: 'none',
    checkpoint: false,
  });
  expect([...program.inputs.keys()].filter((name) => name.startsWith('base.'))).toEqual([]);
});
