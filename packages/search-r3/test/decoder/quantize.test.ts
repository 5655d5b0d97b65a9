/** Quantised weights against their definition in float64: the nearest multiple of the largest magnitude / (levels / 2 - 1). */
import { ColumnQuantizer, quantizeBlocks, rowsOf } from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { afterAll, describe, expect, test } from 'vitest';

/** Magnitudes of [outputs, inputs] that differ by row, with a row of zeros and one that is tiny. */
function weightOf(outputs: number, inputs: number): Float32Array {
  const random = randomStream(31, 'quantize', outputs, inputs);
  return Float32Array.from({ length: outputs * inputs }, (_, i) => {
    const row = Math.floor(i / inputs);
    if (row === 2) return 0;
    return random.normal() * (row === 1 ? 1e-20 : 0.1 + 3 * row);
  });
}

/** The largest magnitude of some numbers. */
const largest = (values: Float32Array): number => Math.max(0, ...values.map(Math.abs));

const columns = await ColumnQuantizer.create();
afterAll(() => columns.dispose());

describe.each([
  [131, 50],
  [5, 1],
  [64, 33],
])('columns of [%d, %d]', async (outputs, inputs) => {
  const weight = weightOf(outputs, inputs);
  const { values, scales } = await columns.quantize(rowsOf(weight, inputs), outputs, inputs);
  const rowOf = (output: number) => weight.subarray(output * inputs, (output + 1) * inputs);

  test('a step is the largest magnitude of an output / 127', () => {
    const expected = Float32Array.from({ length: outputs }, (_, output) => largest(rowOf(output)) / 127);
    expect(scales.map((scale) => (scale < 1e-30 ? 0 : scale))).toEqual(expected);
    expect(expected[2]).toBe(0);
  });

  test('a weight is the nearest step, transposed', () => {
    expect(values).toHaveLength(weight.length);
    for (let output = 0; output < outputs; output++) {
      const row = rowOf(output);
      const most = largest(row);
      for (const [input, value] of row.entries()) {
        const exact = most === 0 ? 0 : (127 * value) / most;
        const found = values[input * outputs + output] as number;
        // 127 steps in float32 lie at most 127 * 2^-23 from the exact quotient.
        expect(Math.abs(found - exact)).toBeLessThan(0.5 + 2e-5);
      }
      if (most > 0)
        expect(
          row.some(
            (value, i) =>
              Math.abs(value) === most && Math.abs(values[i * outputs + output] as number) === 127,
          ),
        ).toBe(true);
    }
  });
});

test('a matrix too large for one piece is quantised as its parts are', async () => {
  // 8,388,608 weights go at once: 1,677 outputs of 5,001 inputs, and 23 more.
  const [outputs, inputs, split] = [1700, 5001, 1677];
  const pattern = weightOf(1, inputs + 97);
  const weight = new Float32Array(outputs * inputs);
  for (let output = 0; output < outputs; output++) {
    const start = output % 97;
    weight.set(pattern.subarray(start, start + inputs), output * inputs);
  }
  const whole = await columns.quantize(rowsOf(weight, inputs), outputs, inputs);
  for (const [first, last] of [
    [0, 3],
    [split - 1, split + 2],
    [outputs - 2, outputs],
  ] as const) {
    const count = last - first;
    const rows = rowsOf(weight.subarray(first * inputs, last * inputs), inputs);
    const part = await columns.quantize(rows, count, inputs);
    expect(whole.scales.slice(first, last)).toEqual(part.scales);
    const same = part.values.every(
      (value, i) => value === whole.values[Math.floor(i / count) * outputs + first + (i % count)],
    );
    expect(same).toBe(true);
  }
});

test('columns round to the nearest step, halves to the even one', async () => {
  const row = Float32Array.of(127, -127, 2.5, -2.5, 2.49, -2.51, 0.5, -0.5, -0.49, -0);
  const { values, scales } = await columns.quantize(rowsOf(row, row.length), 1, row.length);
  expect(Array.from(values)).toEqual([127, -127, 2, -2, 2, -3, 0, 0, 0, 0]);
  expect(Array.from(scales)).toEqual([1]);
});

describe.each([
  { bits: 4, levels: 16 },
  { bits: 8, levels: 256 },
] as const)('blocks of $bits bits', ({ bits, levels }) => {
  const zero = levels / 2;
  /** The steps of packed weights, `zero` in the middle: with 4 bits, the lower half of a byte comes first. */
  const unpack = (packed: Uint8Array): number[] =>
    bits === 8
      ? Array.from(packed, (byte) => byte - zero)
      : Array.from(packed).flatMap((byte) => [(byte & 15) - zero, (byte >> 4) - zero]);

  test.each([
    [4, 70, 32],
    [3, 32, 32],
    [5, 19, 16],
    [3, 5, 32],
  ])('[%d, %d] in blocks of %d', async (outputs, inputs, block) => {
    const weight = weightOf(outputs, inputs);
    const blocks = Math.ceil(inputs / block);
    const { packed, scales } = await quantizeBlocks(rowsOf(weight, inputs), outputs, inputs, bits, block);
    expect(packed).toHaveLength((outputs * blocks * block * bits) / 8);
    expect(scales).toHaveLength(outputs * blocks);
    const steps = unpack(packed);
    for (let output = 0; output < outputs; output++) {
      for (let b = 0; b < blocks; b++) {
        const at = output * blocks + b;
        const part = weight.subarray(
          output * inputs + b * block,
          output * inputs + Math.min((b + 1) * block, inputs),
        );
        const most = largest(part);
        expect(scales[at]).toBe(Math.fround(most / (zero - 1)));
        const found = steps.slice(at * block, (at + 1) * block);
        for (const [i, value] of part.entries()) {
          const exact = most === 0 ? 0 : ((zero - 1) * value) / most;
          expect(Math.abs((found[i] as number) - exact)).toBeLessThan(0.5 + 2e-5);
        }
        // What fills the last block adds nothing.
        expect(found.slice(part.length).every((step) => step === 0)).toBe(true);
      }
    }
  });

  test('the order in a byte, and the first and the last step', async () => {
    const row = bits === 4 ? [7, -7, 3.4, -3.6, 0, 1] : [127, -127, 3.4, -3.6, 0, 1];
    const { packed, scales } = await quantizeBlocks(
      rowsOf(Float32Array.from(row), row.length),
      1,
      row.length,
      bits,
      8,
    );
    const bytes = bits === 4 ? [0x1f, 0x4b, 0x98, 0x88] : [255, 1, 131, 124, 128, 129, 128, 128];
    expect(Array.from(packed)).toEqual(bytes);
    expect(Array.from(scales)).toEqual([1]);
  });
});
