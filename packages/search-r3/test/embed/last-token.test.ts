/** Embeddings of bases at the last token of plain prompts: the hidden states of the float64 reference, cut or whole. */
import { directPrompt, type Prompts } from 'search-r3/checkpoint';
import { embeddingOf } from 'search-r3/decoder';
import { Embedder } from 'search-r3/embed';
import { Model, makeEmbeddingModel } from 'search-r3/model';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { tinyBase } from '../decoder/tiny-policy.js';
import { asParameters, type DecoderConfig, randomWeights } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import { referenceModel } from '../reference/objectives.js';

const prompts: Prompts = { query: { text: 'who {text} where in' }, document: { text: '{text} old' } };
const TEXTS = ['bern', 'food in cork', 'old tower of the new river', 'ada'];

const base = tinyBase('last token');
const { hiddenSize } = base.config;
/** The weights of the base, drawn again. */
const random = randomStream(31, 'tiny base', 'last token');
const reference = referenceModel(
  base.config satisfies DecoderConfig,
  asParameters(
    randomWeights(base.config, () => random.normal()),
    () => false,
  ),
);

function unit(values: readonly number[]): number[] {
  const length = Math.hypot(...values);
  return values.map((value) => value / length);
}

test.each(['query', 'document'] as const)(
  'a %s: the hidden state at its last token, which is none of ours',
  async (role) => {
    const model = makeEmbeddingModel({ ...base, prompts });
    const embedder = new Embedder(Model.of(model));
    const found = await embedder.embed(TEXTS, { role });
    for (const [i, text] of TEXTS.entries()) {
      const { ids } = await directPrompt(model.tokenizer, prompts, text, role);
      const last = role === 'query' ? 'in' : 'old';
      expect(model.tokenizer.tokenOf(ids.at(-1)!)).toBe(last);
      const hidden = [...reference.forward(ids).hidden.data.slice(-hiddenSize)];
      expect(relativeError(found[i]!.vector, unit(hidden))).toBeLessThan(1e-5);
      expect(found[i]!.tokens).toBe(ids.length);
    }
    await embedder.model.dispose();
  },
);

test('fewer dimensions: the first numbers, scaled to length 1 again', async () => {
  const dimensions = 5;
  const model = makeEmbeddingModel({ ...base, prompts, dimensions });
  const embedder = new Embedder(Model.of(model));
  expect(embedder.dimension).toBe(dimensions);
  const found = await embedder.embed(TEXTS);
  for (const [i, text] of TEXTS.entries()) {
    const { ids } = await directPrompt(model.tokenizer, prompts, text, 'query');
    const hidden = [...reference.forward(ids).hidden.data.slice(-hiddenSize)];
    expect(found[i]!.vector).toHaveLength(dimensions);
    expect(relativeError(found[i]!.vector, unit(hidden.slice(0, dimensions)))).toBeLessThan(1e-5);
  }
  await embedder.model.dispose();
});

describe('embeddingOf', () => {
  test('by hand: 3 and 4 of a vector have length 5', () => {
    expect(embeddingOf(Float32Array.of(3, 4, 12), 2)).toEqual(Float32Array.of(0.6, 0.8));
    expect(embeddingOf(Float32Array.of(-2, 9), 1)).toEqual(Float32Array.of(-1));
  });

  test('nothing to cut is scaled too, in a copy; zeros stay zeros', () => {
    const vector = Float32Array.of(3, 4);
    expect(embeddingOf(vector)).toEqual(Float32Array.of(0.6, 0.8));
    expect(vector).toEqual(Float32Array.of(3, 4));
    expect(embeddingOf(Float32Array.of(0, 0, 1), 2)).toEqual(Float32Array.of(0, 0));
  });
});

test('without a prompt for reasoning there is none, and the error says who has one', async () => {
  const embedder = new Embedder(Model.of(makeEmbeddingModel(base)));
  expect(embedder.canReason).toBe(false);
  await expect(embedder.embed(TEXTS, { reasoning: true })).rejects.toThrow(
    /^model: prompts\.reasoning: expected a prompt for reasoning, found none in the preset topics\. .*The preset search-r3 has one\./,
  );
  await embedder.model.dispose();
});

test('a text that gives no token at all is named', async () => {
  const bare: Prompts = { query: { text: '{text}' }, document: { text: '{text}' } };
  const embedder = new Embedder(Model.of(makeEmbeddingModel({ ...base, prompts: bare })));
  const embedding = embedder.embed(['bern', ''], { role: 'document', nameOf: (i) => `row ${i + 7}` });
  await expect(embedding).rejects.toThrow('row 8: expected a text with tokens, found none');
  await embedder.model.dispose();
});
