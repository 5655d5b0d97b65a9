/** Which models encode with the session of their generator. */
import { newConfig, parameterShapes, type Weights } from 'search-r3/checkpoint';
import { SequenceEncoder } from 'search-r3/decoder';
import { Model } from 'search-r3/model';
import { expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';

const policy = tinyPolicy('sharing', { hiddenSize: 64, headDim: 16, intermediateSize: 96 });

test('a small one has a session for each', async () => {
  await using model = Model.of(policy);
  expect(await model.encoder()).toBeInstanceOf(SequenceEncoder);
  expect(await model.encoder()).not.toBe((await model.generator()).encoder);
});

test.each([
  // Zeros that are never read take no memory.
  ['one of a billion parameters shares it', 16, true],
  ['one of heads that cached attention does not take has a session for each', 12, false],
])('%s', async (_, headDim, shares) => {
  const [vocabSize, hiddenSize] = [1_000_000, 1000];
  const { architecture } = policy.config;
  const config = newConfig({
    ...{ architecture, vocabSize, hiddenSize, headDim, intermediateSize: 8 },
    ...{ layers: 1, heads: 1, kvHeads: 1, maxPositions: 64, tieWordEmbeddings: true },
  });
  const weights: Weights = new Map();
  for (const [name, shape] of parameterShapes(config)) {
    weights.set(name, { shape, data: new Float32Array(shape.reduce((a, b) => a * b, 1)) });
  }
  await using model = Model.of({ ...policy, config, weights });
  const encoder = await model.encoder();
  if (shares) {
    expect(encoder).toBe((await model.generator()).encoder);
    expect(await model.encoder()).toBe(encoder);
  } else {
    expect(encoder).toBeInstanceOf(SequenceEncoder);
    await expect(model.generator()).rejects.toThrow('head_dim');
  }
  await model.dispose();
  await expect(encoder.encode([[1]])).rejects.toThrow('disposed');
});
