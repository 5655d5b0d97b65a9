/** Before any training: embeddings are the projections of idf-weighted words that the file promises, and find documents. */
import { directPrompt, initialiseWeights, resolvePrompts } from 'search-r3/checkpoint';
import type { Document } from 'search-r3/dataset';
import { memoryWeights, SequenceEncoder } from 'search-r3/decoder';
import {
  COLLECTION_PROMPTS,
  collectionTokenizer,
  collectionWords,
  logIdf,
  modelShapeSchema,
  PretrainTrainer,
  pretrainOptionsSchema,
  scratchConfig,
  startLexically,
} from 'search-r3/pretrain';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { relativeError } from '../reference/finite-differences.js';

test('ln idf by hand: in all documents, in some, in none, and the words of the prompts', () => {
  const documents = [[1, 1, 2], [1], [1, 4]];
  const idf = [...logIdf(documents, [4], 6)];
  const rare = Math.log(Math.log(4));
  // ln(ln(4 / 3)) for what is in all three; 4 is in a prompt; 0, 3 and 5 are nowhere.
  expect(idf.map((value) => value.toFixed(6))).toEqual(
    [-4, Math.log(Math.log(4 / 3)), rare, -4, -4, -4].map((value) => value.toFixed(6)),
  );
});

/** Rare words of two documents each, and some that stand everywhere. */
const RARE = Array.from(
  { length: 120 },
  (_, i) => `w${'abcdefghij'[i % 10]}${'klmnopqrstuv'[Math.floor(i / 10)]}`,
);
const COMMON = ['the', 'of', 'and', 'in'];
const random = randomStream(4, 'lexical');
const text = (words: readonly string[]) =>
  random.shuffle([...words, ...COMMON, ...COMMON, ...COMMON]).join(' ');
const CORPUS: Document[] = Array.from({ length: 60 }, (_, i) => ({
  id: `d${i}`,
  text: text([0, 1, 60, 61].map((shift) => RARE[(2 * i + shift) % 120] as string)),
}));
const prompts = resolvePrompts(COLLECTION_PROMPTS);
const tokenizer = await collectionTokenizer(CORPUS, prompts, 600);
const embedId = tokenizer.addToken(prompts.embedToken);
const words = await collectionWords(CORPUS, tokenizer, prompts);

const SHAPES = [
  { hiddenSize: 64, heads: 4, layers: 1, intermediateSize: 32 },
  { hiddenSize: 64, heads: 4, layers: 3, intermediateSize: 32, tied: false },
  { hiddenSize: 64, heads: 4, kvHeads: 2, layers: 2, intermediateSize: 32 },
];

function model(shape: (typeof SHAPES)[number], lexical: boolean) {
  const config = scratchConfig(tokenizer, modelShapeSchema.parse(shape));
  const weights = initialiseWeights(config, 2);
  if (lexical) startLexically({ config, weights }, words.logIdf, embedId);
  return { config, weights };
}

async function encode(own: ReturnType<typeof model>, sequences: readonly (readonly number[])[]) {
  const encoder = await SequenceEncoder.create(own.config, memoryWeights(own));
  const matrix = await encoder.encode(sequences);
  await encoder.dispose();
  const width = own.config.hiddenSize;
  return sequences.map((_, i) => matrix.slice(i * width, (i + 1) * width));
}

const unit = (x: readonly number[]) => x.map((value) => value / Math.hypot(...x));

describe.each(SHAPES)('%o', (shape) => {
  test('an embedding is the sum of the rows of its tokens by idf', async () => {
    const own = model(shape, true);
    const { ids } = await directPrompt(tokenizer, prompts, CORPUS[3]!.text, 'document');
    const [found] = await encode(own, [ids]);
    const { hiddenSize, kvHeads, heads, rmsNormEps } = own.config;
    const { data } = own.weights.get('model.embed_tokens.weight')!;
    const row = (id: number) => Array.from(data.subarray(id * hiddenSize, (id + 1) * hiddenSize));
    const normed = ids.map((id) => {
      const x = row(id);
      const scale = 1 / Math.sqrt(x.reduce((sum, value) => sum + value * value, 0) / hiddenSize + rmsNormEps);
      return x.map((value) => value * scale);
    });
    // Idf as it was counted: small random weights beside the built ones move it a little.
    const idf = words.logIdf;
    const weights = ids.map((id) => Math.exp(idf[id]!));
    const total = weights.reduce((a, b) => a + b);
    const carried = (hiddenSize * kvHeads) / heads;
    const expected = row(embedId).map(
      (value, c) =>
        value +
        (c === 0 || c >= carried ? 0 : normed.reduce((sum, x, i) => sum + (weights[i]! / total) * x[c]!, 0)),
    );
    expect(relativeError(found!, Float64Array.from(unit(expected)))).toBeLessThan(0.35);
    const cosine = found!.reduce((sum, value, c) => sum + value * unit(expected)[c]!, 0);
    expect(cosine).toBeGreaterThan(0.94);
  });

  test('what comes next is about as uncertain as with a random start', async () => {
    const loss = async (lexical: boolean) => {
      const own = { ...model(shape, lexical), tokenizer };
      const trainer = new PretrainTrainer(
        own,
        async () =>
          await Promise.all(
            CORPUS.slice(0, 8).map(async (document) => await tokenizer.encode(document.text)),
          ),
        pretrainOptionsSchema.parse({ steps: 1, optimization: { warmupSteps: 0 } }),
      );
      const { metrics } = await trainer.step(0);
      await trainer.dispose();
      return metrics.loss as number;
    };
    expect(Math.abs((await loss(true)) - Math.log(tokenizer.vocabSize))).toBeLessThan(1);
    expect(Math.abs((await loss(false)) - Math.log(tokenizer.vocabSize))).toBeLessThan(1);
  });

  test('two rare words find their document among sixty, where a random start does not', async () => {
    const queries = CORPUS.map((_, i) => `the ${RARE[2 * i]} of ${RARE[(2 * i + 60) % 120]}`);
    const found = async (lexical: boolean) => {
      const own = model(shape, lexical);
      const documents = await encode(
        own,
        await Promise.all(
          CORPUS.map(
            async (document) => (await directPrompt(tokenizer, prompts, document.text, 'document')).ids,
          ),
        ),
      );
      const vectors = await encode(
        own,
        await Promise.all(
          queries.map(async (query) => (await directPrompt(tokenizer, prompts, query, 'query')).ids),
        ),
      );
      const first = vectors.map((vector) => {
        const scores = documents.map((x) => x.reduce((sum, value, c) => sum + value * vector[c]!, 0));
        return scores.indexOf(Math.max(...scores));
      });
      // Document i and i + 30 have the same rare words.
      return first.filter((best, i) => best % 30 === i % 30).length / first.length;
    };
    expect(await found(true)).toBeGreaterThan(0.9);
    expect(await found(false)).toBeLessThan(0.5);
  });
});

test('directions that are given take the place of the random ones, and the lengths stay', () => {
  const [shape] = SHAPES;
  const { logIdf: idf } = words;
  const own = model(shape!, false);
  const before = own.weights.get('model.embed_tokens.weight')!.data.slice();
  const width = own.config.hiddenSize - 1;
  // Token i points along axis i.
  const directions = new Float64Array(idf.length * width);
  for (const id of idf.keys()) directions[id * width + (id % width)] = 1;
  startLexically(own, idf, embedId, directions);
  const after = own.weights.get('model.embed_tokens.weight')!.data;
  const lengths = { before: 0, after: 0 };
  for (const id of idf.keys()) {
    if (id === embedId) continue;
    const [first, last] = [id * (width + 1) + 1, (id + 1) * (width + 1)];
    const row = after.subarray(first, last);
    expect(row.findIndex((x) => x !== 0)).toBe(id % width);
    expect(row.filter((x) => x !== 0).length).toBe(1);
    lengths.before += 5 * Math.hypot(...before.subarray(first, last));
    lengths.after += Math.hypot(...row);
  }
  expect(lengths.after / lengths.before).toBeCloseTo(1, 1);
});
