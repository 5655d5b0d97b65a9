/** Rehearsed steps, against the closed form of the operations of a decoder. */
import { newConfig, parameterShapes } from 'search-r3/checkpoint';
import { adapterDeclaration, fullDeclaration, weightsInMemory } from 'search-r3/decoder';
import { type EngineOptions, StepRehearsal, type StepRequest, type TrainingSequence } from 'search-r3/train';
import { describe, expect, test } from 'vitest';

const config = newConfig({
  ...{ vocabSize: 300, hiddenSize: 64, intermediateSize: 160, layers: 3, heads: 4, kvHeads: 2 },
  maxPositions: 128,
});
const options: EngineOptions = {
  objective: { crossEntropy: {}, infoNce: { temperature: 0.05 } },
};
const full = { declare: fullDeclaration(config, 299) };

let first = 0;
/** Unlike all others; `labels` on the last tokens but one. */
const sequence = (length: number, labels = 0): TrainingSequence => ({
  ids: Array.from({ length }, (_, i) => (i === 0 ? ++first : 1)),
  labels: Array.from({ length: labels }, (_, i) => ({ position: length - 2 - i, weight: 1 })),
  embed: length - 1,
});

/** Elements of the linear layers, all of them and those of the last layer after attention. */
function linearElements() {
  const of = (wanted: RegExp) =>
    [...parameterShapes(config)].reduce(
      (sum, [name, [outputs = 0, inputs = 0]]) => (wanted.test(name) ? sum + outputs * inputs : sum),
      0,
    );
  return { all: of(/_proj\.weight/), last: of(/layers\.2\.(mlp|self_attn\.o_proj).*weight/) };
}

const batch = (count: number, length: number): StepRequest => {
  const sequences = Array.from({ length: count }, () => sequence(length, 2));
  const half = Math.floor(count / 2);
  const anchors = Array.from({ length: half }, (_, i) => ({
    ...{ sequence: i, positive: i, infoNceWeight: 1, tripletWeight: 0, falseNegatives: [] },
  }));
  const documents = Array.from({ length: count - half }, (_, i) => half + i);
  return { sequences, contrastive: { anchors, documents } };
};

describe('a whole step', () => {
  test('takes three products for each of the forward pass', () => {
    const rehearsal = new StepRehearsal(config, full, options);
    const [count, length] = [7, 30];
    const { floatOperations } = rehearsal.step(batch(count, length));
    const { all, last } = linearElements();
    const { heads, headDim, layers, hiddenSize, vocabSize } = config;
    const tokens = count * length;
    // Of the last layer, only rows that something is read at are finished: two labels and the embedding of each.
    const linear = 2 * (tokens * (all - last) + 3 * count * last);
    const attention = 2 * 2 * count * heads * length * length * headDim * layers;
    // The table itself is frozen, so its gradient is none.
    const head = 2 * 2 * count * hiddenSize * (vocabSize + 1);
    const expected = 3 * (linear + attention) + 2 * head;
    // The rest: norms, which are products with vectors.
    expect(floatOperations / expected).toBeGreaterThan(0.95);
    expect(floatOperations / expected).toBeLessThan(1.05);
    expect(rehearsal.inPieces).toBe(false);
    expect(rehearsal.sessions.count).toBe(1);
  });

  test('takes memory in proportion to its sequences', () => {
    const residentOf = (count: number) => {
      const rehearsal = new StepRehearsal(config, full, options);
      rehearsal.step(batch(count, 30));
      return rehearsal.resident;
    };
    const ratio = residentOf(80) / residentOf(40);
    expect(ratio).toBeGreaterThan(1.9);
    expect(ratio).toBeLessThan(2.05);
  });
});

describe('a step in pieces', () => {
  const few: EngineOptions = { ...options, maxTokens: 150 };

  test('embeds everything once more, in bounded memory', () => {
    const [whole, pieces] = [options, few].map((own) => new StepRehearsal(config, full, own));
    if (whole === undefined || pieces === undefined) throw new Error('unreachable');
    const [one, many] = [whole.step(batch(40, 30)), pieces.step(batch(40, 30))];
    expect(pieces.inPieces).toBe(true);
    // 5 sequences a piece; training, embedding and the contrastive term.
    expect(pieces.sessions.count).toBe(3);
    expect(pieces.resident).toBeLessThan(whole.resident / 4);
    // Forward, backward (twice the forward pass) and forward again.
    expect(many.floatOperations / one.floatOperations).toBeCloseTo(4 / 3, 1);
  });

  test('counts pieces that it leaves out by their tokens', () => {
    const operations = (count: number) =>
      new StepRehearsal(config, full, few).step(batch(count, 30)).floatOperations;
    expect(operations(200) / operations(50)).toBeCloseTo(4, 1);
  });
});

test('an adapter takes no products for the gradients of the frozen weights', () => {
  const frozen = weightsInMemory({ config, weights: new Map() });
  const form = { targets: ['q_proj', 'down_proj'] as const, tokenId: 299 };
  const adapted = { declare: adapterDeclaration(frozen, form), sizes: { rank: 4 } };
  const [all, some] = [full, adapted].map((weights) =>
    new StepRehearsal(config, weights, options).step(batch(20, 30)),
  );
  const ratio = (some?.floatOperations ?? 0) / (all?.floatOperations ?? 1);
  expect(ratio).toBeGreaterThan(0.6);
  expect(ratio).toBeLessThan(0.8);
});

test('activations that are recomputed take time in place of memory', () => {
  const [kept, recomputed] = [false, true].map((checkpoint) => {
    const rehearsal = new StepRehearsal(config, full, { ...options, checkpoint });
    return { work: rehearsal.step(batch(40, 60)), resident: rehearsal.resident };
  });
  expect(recomputed?.resident).toBeLessThan(0.9 * (kept?.resident ?? 0));
  const ratio = (recomputed?.work.floatOperations ?? 0) / (kept?.work.floatOperations ?? 1);
  expect(ratio).toBeGreaterThan(1.1);
  expect(ratio).toBeLessThan(1.4);
});
