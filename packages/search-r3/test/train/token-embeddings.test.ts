/**
 * Frozen token tables: of their rows that of the embed token alone gets a gradient, the one it would have had anyway;
 * the others get no gradient node, in graphs whose head is a table of its own and in those that share one.
 */
import onnxProto from 'onnx-proto';
import { fullTraining, trainedWeights } from 'search-r3/decoder';
import { frozenCopy } from 'search-r3/model';
import { GradientEngine, type Objective, type StepRequest, trainingProgram } from 'search-r3/train';
import { describe, expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { relativeError } from '../reference/finite-differences.js';

const EMBEDDINGS = 'model.embed_tokens.weight';
const HEAD = 'lm_head.weight';
const OBJECTIVE: Objective = { crossEntropy: {}, infoNce: { temperature: 0.2 }, triplet: { margin: 0.3 } };

/** Sequences of uneven length; the embed token is read, and predicted at more than one place. */
const request = (embedId: number): StepRequest => ({
  sequences: [
    {
      ids: [3, 5, 1, embedId],
      labels: [
        { position: 0, weight: 0.3 },
        { position: 2, weight: 0.7 },
      ],
      embed: 3,
    },
    { ids: [2, embedId], labels: [{ position: 0, weight: 0.4 }], embed: 1 },
    { ids: [9, 9, 4, 7, 0, embedId], labels: [{ position: 3, weight: 0.5 }], embed: 5 },
  ],
  contrastive: {
    anchors: [
      { sequence: 0, positive: 0, negative: 1, infoNceWeight: 1, tripletWeight: 0.5, falseNegatives: [] },
    ],
    documents: [1, 2],
  },
});

describe.each([
  ['a head of its own', false, [EMBEDDINGS, HEAD]],
  ['a shared table', true, [EMBEDDINGS]],
])('%s', (_, tieWordEmbeddings, tables) => {
  const policy = tinyPolicy('token embeddings', { layers: 1, tieWordEmbeddings });
  const { config, embedId } = policy;
  const gradientsOf = async (trainedToken?: number) => {
    const engine = new GradientEngine(config, fullTraining(policy, trainedToken), { objective: OBJECTIVE });
    try {
      return await engine.compute(request(embedId));
    } finally {
      await engine.dispose();
    }
  };

  test('loss and gradients are those of training everything', async () => {
    const whole = await gradientsOf();
    const some = await gradientsOf(embedId);
    expect(some.loss).toBeCloseTo(whole.loss, 6);
    const rows = tables.map((table) => `${table}[embed]`);
    expect(new Set(some.gradients.keys())).toEqual(
      new Set([...[...whole.gradients.keys()].filter((name) => !tables.includes(name)), ...rows]),
    );
    const width = config.hiddenSize;
    for (const [name, gradient] of some.gradients) {
      const expected = name.endsWith('[embed]')
        ? whole.gradients
            .get(name.slice(0, -'[embed]'.length))!
            .subarray(embedId * width, (embedId + 1) * width)
        : whole.gradients.get(name)!;
      expect(Math.max(...expected.map(Math.abs)), name).toBeGreaterThan(1e-4);
      expect(relativeError(gradient, expected), name).toBeLessThan(1e-5);
    }
  });

  test('the tables have no gradient node', () => {
    const nodes = (trainedToken?: number) => {
      const program = trainingProgram(config, fullTraining(policy, trainedToken), {
        objective: OBJECTIVE,
        groups: 1,
        parts: 1,
        embeddings: 'inGraph',
        checkpoint: false,
      });
      const { graph } = onnxProto.onnx.ModelProto.decode(program.bytes);
      const outputs = [...program.outputs].map(([name, { shape }]) => [name, shape[0]] as const);
      return {
        scatters: graph?.node?.filter(({ opType }) => opType === 'ScatterElements').length ?? 0,
        tables: outputs.filter(([name, rows]) => name.startsWith('gradient:') && rows === config.vocabSize),
      };
    };
    expect(
      nodes()
        .tables.map(([name]) => name)
        .sort(),
    ).toEqual(tables.map((name) => `gradient:${name}`).sort());
    expect(nodes(embedId).tables).toEqual([]);
    // The one that added up the gradient of the rows read.
    expect(nodes(embedId).scatters).toBe(nodes().scatters - 1);
  });

  test('trained rows lie in the memory of their tables', () => {
    const own = frozenCopy(policy);
    for (const table of tables) {
      const row = trainedWeights(own.weights, config, embedId).get(`${table}[embed]`)!;
      expect(row.shape).toEqual([1, config.hiddenSize]);
      row.data.fill(7);
      const { data } = own.weights.get(table)!;
      const at = embedId * config.hiddenSize;
      expect([...data.subarray(at, at + config.hiddenSize)]).toEqual(Array(config.hiddenSize).fill(7));
      expect(data.filter((value) => value === 7)).toHaveLength(config.hiddenSize);
    }
  });

  test('a row that is not there is refused', () => {
    expect(() => trainedWeights(policy.weights, config, config.vocabSize)).toThrow(
      `${EMBEDDINGS} has no row ${config.vocabSize} to train`,
    );
  });
});
