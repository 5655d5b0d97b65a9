/**
 * Equal sequences of a step are encoded once, with the numbers of encoding each by itself. To keep equal ones apart, a
 * token is put behind what they are read at: causal attention, so nothing changes.
 */
import { Session } from 'onnx-grad';
import { distinctSequences, type GradientEngine, type StepRequest } from 'search-r3/train';
import { describe, expect, test, vi } from 'vitest';
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
import { grpoEngine, grpoRequest, sftEngine, sftRequest } from './requests.js';

const config = TINY_CONFIGS[1]!;
const base = tinyModel(config, tinyWeights(config, 'base'));
const sampler = referenceModel(
  config,
  asParameters(tinyWeights(config), () => false),
);

/** The request with its sequences `copied` a second time, as further documents that have labels of their own. */
function repeated(request: StepRequest, copied: readonly number[], apart: boolean): StepRequest {
  const { sequences, contrastive } = request;
  const copies = copied.map((i, k) => {
    const { ids, labels, embed } = sequences[i]!;
    const own = labels.map((label) => ({ ...label, weight: (k + 2) * label.weight }));
    return { ids: apart ? [...ids, 5 + k] : [...ids], labels: own, ...(embed !== undefined && { embed }) };
  });
  const { anchors, documents } = contrastive!;
  return {
    ...request,
    sequences: [...sequences, ...copies],
    contrastive: {
      documents: [...documents, ...copied.map((_, k) => sequences.length + k)],
      anchors: anchors.map((anchor, i) => ({
        ...anchor,
        positive: i === 0 ? documents.length : anchor.positive,
        falseNegatives: [],
      })),
    },
  };
}

async function compute(engine: GradientEngine, request: StepRequest) {
  const run = vi.spyOn(Session.prototype, 'runInPlace');
  try {
    const result = await engine.compute(request);
    const rows = run.mock.calls.flatMap(([feeds]) =>
      Object.entries(feeds).flatMap(([name, tensor]) => (/^ids_\d$/.test(name) ? tensor.shape[0]! : [])),
    );
    return { ...result, rows: rows.reduce((a, b) => a + b) };
  } finally {
    run.mockRestore();
    await engine.dispose();
  }
}

describe.each([
  [
    'stage 1',
    sftRequest(tinySftBatch(), TINY_SFT_OPTIONS),
    (extra: { maxTokens?: number }) => sftEngine(tinyModel(config), base, extra),
  ],
  [
    'stage 2',
    grpoRequest(tinyGrpoBatch(sampler), TINY_GRPO_OPTIONS),
    (extra: { maxTokens?: number }) => grpoEngine(tinyModel(config), extra),
  ],
])('%s', (_, request, engine) => {
  const documents = request.contrastive!.documents;
  const copied = [documents[1]!, documents[0]!, 0];

  test.each([{}, { maxTokens: 25 }])('equal sequences once: %o', async (extra) => {
    const once = await compute(engine(extra), repeated(request, copied, false));
    const each = await compute(engine(extra), repeated(request, copied, true));
    expect(each.rows - once.rows).toBe(copied.length);
    expect(Math.abs(once.loss / each.loss - 1)).toBeLessThan(1e-6);
    expect(once.sums.kl! / each.sums.kl!).toBeCloseTo(1, 5);
    for (const [name, values] of Object.entries(each.anchors)) {
      expect(relativeError(once.anchors[name]!, values), name).toBeLessThan(2e-6);
    }
    for (const [name, sequences] of Object.entries(each.labels)) {
      for (const [i, values] of sequences.entries()) {
        expect(once.labels[name]![i]!.length).toBe(values.length);
        if (values.some((value) => value !== 0)) {
          expect(relativeError(once.labels[name]![i]!, values), `${name} ${i}`).toBeLessThan(2e-6);
        }
      }
    }
    for (const [name, gradient] of each.gradients) {
      expect(relativeError(once.gradients.get(name)!, gradient), name).toBeLessThan(2e-6);
    }
  });
});

const label = (position: number, weight: number) => ({ position, weight });

test('what becomes one has the labels of all, and what nobody reads is left out', () => {
  const sequences = [
    { ids: [1, 2, 3], labels: [label(0, 1)], embed: 2 },
    { ids: [4, 5], labels: [label(0, 0)], embed: 1 },
    { ids: [1, 2, 3], labels: [label(1, 2), label(0, 0)] },
    { ids: [1, 2, 3], labels: [], embed: 1 },
    { ids: [12, 3], labels: [], embed: 1 },
    { ids: [1, 23], labels: [], embed: 1 },
  ];
  const anchor = { sequence: 0, positive: 0, infoNceWeight: 1, tripletWeight: 0, falseNegatives: [] };
  const contrastive = { anchors: [anchor], documents: [3, 4, 5] };
  const found = distinctSequences(sequences, contrastive, ({ weight }) => weight !== 0);
  expect(found.sequences).toEqual([
    { ids: [1, 2, 3], labels: [label(0, 1), label(1, 2), label(0, 0)], embed: 2 },
    { ids: [1, 2, 3], labels: [], embed: 1 },
    { ids: [12, 3], labels: [], embed: 1 },
    { ids: [1, 23], labels: [], embed: 1 },
  ]);
  expect(found.places).toEqual([
    { sequence: 0, firstLabel: 0 },
    undefined,
    { sequence: 0, firstLabel: 1 },
    { sequence: 1, firstLabel: 0 },
    { sequence: 2, firstLabel: 0 },
    { sequence: 3, firstLabel: 0 },
  ]);
});
