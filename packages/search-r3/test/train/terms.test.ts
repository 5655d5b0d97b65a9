/** What a loss does not have is not computed: neither the head without terms on labels, nor embeddings without theirs. */
import { Session } from 'onnx-grad';
import { fullTraining } from 'search-r3/decoder';
import { GradientEngine, type Objective, type StepRequest } from 'search-r3/train';
import { afterEach, expect, test, vi } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { relativeError } from '../reference/finite-differences.js';

const policy = tinyPolicy('terms', { layers: 1, tieWordEmbeddings: false });
const base = tinyPolicy('terms base', { layers: 1, tieWordEmbeddings: false });
const { config, embedId } = policy;

const REQUEST: StepRequest = {
  sequences: [
    { ids: [3, 5, 1, embedId], labels: [{ position: 1, weight: 0.3, klWeight: 0.6 }], embed: 3 },
    { ids: [2, embedId], labels: [{ position: 0, weight: 0.4 }], embed: 1 },
    { ids: [9, 4, 7, 0, 11, embedId], labels: [], embed: 5 },
    // Nobody reads it.
    { ids: [8, 8, 8, 8, 8, 8, 8, 8], labels: [] },
  ],
  contrastive: {
    anchors: [
      { sequence: 0, positive: 0, negative: 1, infoNceWeight: 1, tripletWeight: 2, falseNegatives: [] },
    ],
    documents: [1, 2],
  },
};

async function compute(objective: Objective, request = REQUEST, extra: { maxTokens?: number } = {}) {
  const create = vi.spyOn(Session, 'create');
  const engine = new GradientEngine(config, fullTraining(policy), { objective, ...extra });
  try {
    const { gradients, ...result } = await engine.compute(request);
    const own = new Map([...gradients].map(([name, gradient]) => [name, gradient.slice()]));
    const inputs = create.mock.calls.map(([{ inputs }]) => [...inputs.keys()]);
    return { ...result, gradients: own, inputs: inputs.flat() };
  } finally {
    await engine.dispose();
  }
}

afterEach(() => vi.restoreAllMocks());

const INFO_NCE = { infoNce: { temperature: 0.3 } };
const TRIPLET = { triplet: { margin: 1.5 } };
const CROSS_ENTROPY = { crossEntropy: {} };
const KL = { kl: { base, vocabulary: embedId } };

test('terms on embeddings alone do not touch the head', async () => {
  for (const extra of [{}, { maxTokens: 6 }]) {
    const found = await compute({ ...INFO_NCE, ...TRIPLET }, REQUEST, extra);
    expect(found.inputs).toContain('model.norm.weight');
    expect(found.inputs).not.toContain('lm_head.weight');
    expect(found.inputs.some((name) => name.startsWith('label'))).toBe(false);
    expect(found.labels).toEqual({});
    expect(found.gradients.get('lm_head.weight')!.every((value) => value === 0)).toBe(true);
    expect(found.loss).toBeCloseTo(found.anchors.infoNce![0]! + 2 * found.anchors.triplet![0]!, 5);
    expect(found.anchors.triplet![0]).toBeGreaterThan(0.1);
  }
});

test('terms on labels alone do not compute embeddings', async () => {
  const found = await compute({ ...CROSS_ENTROPY, ...KL });
  expect(found.inputs).toContain('lm_head.weight');
  expect(found.inputs).toContain('base.lm_head.weight');
  expect(found.inputs.some((name) => name.includes('embed_rows') || name.startsWith('anchor'))).toBe(false);
  expect(found.anchors).toEqual({});
  const losses = found.labels.crossEntropy!.map((values) => values[0] ?? 0);
  expect(losses[2]).toBe(0);
  const expected = 0.3 * losses[0]! + 0.4 * losses[1]! + 0.6 * found.labels.kl![0]![0]!;
  expect(found.loss).toBeCloseTo(expected, 5);
  expect(found.sums.kl).toBeCloseTo(0.6 * found.labels.kl![0]![0]!, 6);
});

test('the loss and the gradient of all terms are the sums of those of each', async () => {
  const parts = [INFO_NCE, TRIPLET, CROSS_ENTROPY, KL];
  const all = await compute(Object.assign({}, ...parts));
  const each = await Promise.all(parts.map((part) => compute(part)));
  expect(all.loss).toBeCloseTo(
    each.reduce((total, { loss }) => total + loss, 0),
    5,
  );
  for (const [name, gradient] of all.gradients) {
    const sum = gradient.map((_, i) =>
      each.reduce((total, { gradients }) => total + gradients.get(name)![i]!, 0),
    );
    expect(relativeError(gradient, sum), name).toBeLessThan(1e-5);
  }
  for (const { loss, gradients } of each) {
    expect(loss).toBeGreaterThan(0.01);
    expect(Math.max(...gradients.get('model.norm.weight')!.map(Math.abs))).toBeGreaterThan(1e-4);
  }
});

test('a step in which no term has anything to read has loss and gradients 0', async () => {
  const { sequences } = REQUEST;
  const found = await compute(INFO_NCE, { sequences });
  expect(found).toMatchObject({ loss: 0, labels: {}, sums: {}, anchors: {}, inputs: [] });
  for (const gradient of found.gradients.values()) expect(gradient.every((value) => value === 0)).toBe(true);
});

test('without a frozen part, the KL term needs a base of its own', async () => {
  await expect(compute({ kl: { vocabulary: embedId } })).rejects.toThrow('a base of its own');
});

test('shorter vectors are the mean over their lengths, and have to be shorter', async () => {
  const terms = { ...INFO_NCE, ...TRIPLET };
  const whole = await compute(terms);
  const both = await compute({ ...terms, matryoshka: [7] });
  const two = await compute({ ...terms, matryoshka: [7, 4] });
  // What a length adds is the same beside any others.
  const all = await compute({ ...terms, matryoshka: [4] });
  const part = (name: string) => {
    const of = ({ anchors }: typeof whole) => anchors[name]![0]!;
    return { seven: 2 * of(both) - of(whole), four: 2 * of(all) - of(whole), two: 3 * of(two) - of(whole) };
  };
  for (const name of ['infoNce', 'triplet']) {
    const { seven, four, two: sum } = part(name);
    expect(seven + four).toBeCloseTo(sum, 5);
    expect(Math.abs(seven - four)).toBeGreaterThan(1e-3);
  }
  await expect(compute({ ...terms, matryoshka: [4, config.hiddenSize] })).rejects.toThrow(
    `matryoshka: expected lengths below ${config.hiddenSize}, found ${config.hiddenSize}`,
  );
});
