/** Draws against the exact distribution they come from, and truncation against the definitions. */
import { BLOCK, drawTruncated, drawWhole, penalise } from 'search-r3/generate';
import { randomStream } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { allowedTokens, softmaxOf } from './transformers-logits.js';

const random = randomStream(11, 'probabilities');

/** float32 sums of blocks, added one by one. */
function blockSums(probabilities: Float32Array): Float32Array {
  const sums = new Float32Array(Math.ceil(probabilities.length / BLOCK));
  for (const [i, p] of probabilities.entries()) {
    const block = Math.floor(i / BLOCK);
    sums[block] = (sums[block] as number) + p;
  }
  return sums;
}

/** Probabilities in float32 with a long tail; every seventh is 0. */
function distribution(size: number, spread: number): Float32Array {
  const scores = Array.from({ length: size }, () => spread * random.normal());
  return Float32Array.from(softmaxOf(scores), (p, i) => (i % 7 === 3 ? 0 : p));
}

/** The token at `uniform` by adding in float64 in the order of ids. */
function inverted(probabilities: Float32Array, uniform: number): number {
  const target = uniform * probabilities.reduce((a, b) => a + b, 0);
  let sum = 0;
  return probabilities.findIndex((p) => {
    sum += p;
    return sum > target;
  });
}

describe('the whole distribution', () => {
  test.each([
    [7, 1],
    [BLOCK, 1],
    [BLOCK + 1, 3],
    [3 * BLOCK - 1, 0.1],
    [2500, 2],
  ])('%i tokens of spread %f: the token is that of the sum in float64', (size, spread) => {
    const probabilities = distribution(size, spread);
    const sums = blockSums(probabilities);
    // The edges of tokens and blocks too, where float32 sums can not tell.
    let edge = 0;
    const total = probabilities.reduce((a, b) => a + b, 0);
    const edges = Array.from(probabilities, (p) => {
      edge += p;
      return edge / total;
    });
    const uniforms = [
      0,
      1 - 2 ** -53,
      ...Array.from({ length: 500 }, () => random.uniform()),
      ...edges
        .filter((_, i) => i % 5 === 0)
        .flatMap((at) => [at - 1e-9, at + 1e-9])
        .filter((at) => at >= 0 && at < 1),
    ];
    for (const uniform of uniforms) {
      const { token, logProbability } = drawWhole(probabilities, sums, uniform);
      expect(token).toBe(inverted(probabilities, uniform));
      expect(logProbability).toBe(Math.log(probabilities[token]!));
    }
  });

  test('sums that are off by their rounding change nothing', () => {
    const probabilities = distribution(2000, 2);
    const sums = blockSums(probabilities).map((sum) => sum * (1 + (random.uniform() - 0.5) * 2e-5));
    for (let i = 0; i < 2000; i++) {
      const uniform = random.uniform();
      expect(drawWhole(probabilities, sums, uniform).token).toBe(inverted(probabilities, uniform));
    }
  });

  test('inverts the cumulative distribution', () => {
    const probabilities = Float32Array.of(0.05, 0.3, 0, 0.15, 0.4, 0.05, 0.05);
    const at = (uniform: number) => drawWhole(probabilities, blockSums(probabilities), uniform).token;
    // Cumulative: 0.05, 0.35, 0.35, 0.5, 0.9, 0.95, 1.
    expect([0, 0.049, 0.051, 0.349, 0.351, 0.499, 0.501, 0.899, 0.901, 0.949, 0.951].map(at)).toEqual([
      0, 0, 1, 1, 3, 3, 4, 4, 5, 5, 6,
    ]);
  });

  test('a uniform number next to 1 draws a possible token, whatever rounding leaves', () => {
    const rounded = Float32Array.of(...new Array<number>(10).fill(0.1), 0);
    expect(drawWhole(rounded, blockSums(rounded), 1 - 2 ** -53).token).toBe(9);
  });

  test('probabilities without mass give NaN', () => {
    for (const bad of [Float32Array.of(0, 0), Float32Array.of(Number.NaN, Number.NaN)]) {
      expect(drawWhole(bad, blockSums(bad), 0.5).logProbability).toBeNaN();
    }
  });
});

describe('truncation', () => {
  /** The `count` most probable, as the graph gives them. */
  function list(probabilities: Float32Array, count: number) {
    const order = [...probabilities.keys()].sort((a, b) => probabilities[b]! - probabilities[a]! || a - b);
    const ids = order.slice(0, count);
    return {
      values: Float32Array.from(ids, (id) => probabilities[id]!),
      ids: BigInt64Array.from(ids, BigInt),
    };
  }
  const all = { topK: 0, topP: 1, minP: 0 };

  test.each([
    { topK: 5 },
    { topP: 0.6 },
    { minP: 0.1 },
    { topK: 12, topP: 0.7 },
    { topK: 3, topP: 0.95 },
    { topP: 0.9, minP: 0.2 },
    { topK: 8, topP: 0.8, minP: 0.05 },
    { topK: 500 },
  ])('%o leaves what transformers leaves', (options) => {
    const scores = Array.from({ length: 60 }, () => 2 * random.normal());
    const probabilities = Float32Array.from(softmaxOf(scores));
    const { values, ids } = list(probabilities, 60);
    const drawn = new Set<number>();
    for (let i = 0; i < 4000; i++) {
      const draw = drawTruncated(values, ids, 60, { ...all, ...options }, (i + 0.5) / 4000)!;
      expect(draw.logProbability).toBe(Math.log(probabilities[draw.token]!));
      drawn.add(draw.token);
    }
    const allowed = allowedTokens(scores, options);
    // The least probable token that is left has more than a four-thousandth of the mass, unless all are left.
    if (allowed.length < 40) expect([...drawn].sort((a, b) => a - b)).toEqual(allowed);
    else expect(drawn.size).toBeGreaterThan(30);
  });

  test('a short list is enough until truncation leaves more', () => {
    const probabilities = Float32Array.of(0.3, 0.25, 0.2, 0.15, 0.1);
    const draw = (count: number, options: object) => {
      const { values, ids } = list(probabilities, count);
      return drawTruncated(values, ids, 5, { ...all, ...options }, 0.99)?.token;
    };
    expect(draw(2, { topP: 0.5 })).toBe(1);
    expect(draw(2, { topP: 0.6 })).toBeUndefined();
    expect(draw(3, { topP: 0.6 })).toBe(2);
    expect(draw(2, { topK: 2 })).toBe(1);
    expect(draw(2, { topK: 3 })).toBeUndefined();
    // Top-p is of what top-k leaves: its mass must be known.
    expect(draw(3, { topK: 4, topP: 0.3 })).toBeUndefined();
    expect(draw(4, { topK: 4, topP: 0.3 })).toBe(0);
    // 0.3 of 0.55 is more than half, 0.3 of 0.75 is less.
    expect(draw(2, { topK: 2, topP: 0.5 })).toBe(0);
    expect(draw(3, { topK: 3, topP: 0.5 })).toBe(1);
    expect(draw(2, { minP: 0.7 })).toBeUndefined();
    expect(draw(3, { minP: 0.7 })).toBe(1);
    expect(draw(5, { topK: 9, minP: 0.1 })).toBe(4);
  });

  test('ties are by id', () => {
    const probabilities = Float32Array.of(0.05, 0.3, 0.05, 0.15, 0.4, 0.05);
    const { values, ids } = list(probabilities, 6);
    expect(drawTruncated(values, ids, 6, { ...all, topK: 4 }, 0.999)?.token).toBe(0);
  });

  test('probabilities that are NaN give NaN', () => {
    const draw = drawTruncated(
      Float32Array.of(Number.NaN),
      BigInt64Array.of(0n),
      9,
      { ...all, topK: 3 },
      0.5,
    );
    expect(draw?.logProbability).toBeNaN();
  });
});

test('the repetition penalty divides positive scores and multiplies others', () => {
  const scores = Float32Array.of(2, -2, 0, 3, -1);
  penalise(scores, new Set([0, 1, 2]), 1.25);
  expect([...scores]).toEqual([1.600000023841858, -2.5, 0, 3, -1]);
});
