import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { type StorageDtype, writeSafetensors } from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { fileOf, freshFolder, readAll, tensor } from './files.js';

/** The values after storing them as `dtype`, and the bits stored. */
async function store(
  values: ArrayLike<number>,
  dtype: StorageDtype,
): Promise<{ back: Float32Array; bits: Uint16Array }> {
  const path = join(await freshFolder(), 'x.safetensors');
  await writeSafetensors(path, new Map([['x', tensor([values.length], values)]]), dtype);
  const bytes = await readFile(path);
  const bits = new Uint16Array(Uint8Array.from(bytes.subarray(bytes.length - 2 * values.length)).buffer);
  return { back: (await readAll(path)).get('x')?.data ?? new Float32Array(), bits };
}

describe('half precision', () => {
  const [max, inf, nan] = [65504, Number.POSITIVE_INFINITY, Number.NaN];

  test('f16, worked by hand from IEEE 754 binary16', async () => {
    const cases: [number, number][] = [
      [0, 0x0000],
      [-0, 0x8000],
      [1, 0x3c00],
      [-2, 0xc000],
      [1 + 2 ** -11, 0x3c00], // half-way between 1 and its successor: to even
      [1 + 3 * 2 ** -11, 0x3c02], // half-way again, even is above
      [1 + 2 ** -11 + 2 ** -20, 0x3c01], // just over half-way
      [2 - 2 ** -11, 0x4000], // rounding up carries into the exponent
      [max, 0x7bff],
      [-65519.99, 0xfbff], // below half-way to 2^16: still finite
      [2 ** -14, 0x0400], // the smallest normal
      [2 ** -14 - 2 ** -25, 0x0400], // half-way between subnormal and normal: to even
      [2 ** -24, 0x0001], // the smallest subnormal
      [2 ** -25, 0x0000], // half of it: to even
      [2 ** -25 + 2 ** -45, 0x0001],
      [3 * 2 ** -25, 0x0002], // 1.5 units: to even
      [-5 * 2 ** -25, 0x8002], // 2.5 units: to even
      [1e-30, 0x0000],
      [inf, 0x7c00],
      [-inf, 0xfc00],
      [nan, 0x7e00],
    ];
    const { bits } = await store(
      cases.map(([value]) => value),
      'f16',
    );
    expect([...bits]).toEqual(cases.map(([, pattern]) => pattern));
  });

  test('bf16, worked by hand', async () => {
    const cases: [number, number][] = [
      [0, 0x0000],
      [-0, 0x8000],
      [1, 0x3f80],
      [1 + 2 ** -8, 0x3f80], // half-way: to even
      [1 + 3 * 2 ** -8, 0x3f82],
      [1 + 2 ** -8 + 2 ** -20, 0x3f81],
      [-(2 - 2 ** -8), 0xc000],
      [3.4028234e38, 0x7f80], // the largest float32 rounds to infinity
      [1e-45, 0x0000], // the smallest float32 subnormal
      [inf, 0x7f80],
      [nan, 0x7fc0],
    ];
    const { bits } = await store(
      cases.map(([value]) => value),
      'bf16',
    );
    expect([...bits]).toEqual(cases.map(([, pattern]) => pattern));
  });

  test.each(['f16', 'bf16'] as const)('%s: every pattern is its own value, stored again', async (dtype) => {
    const patterns = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const header = { x: { dtype: dtype.toUpperCase(), shape: [65536], data_offsets: [0, 131072] } };
    const path = await fileOf(header, new Uint8Array(patterns.buffer));
    const values = (await readAll(path)).get('x')?.data ?? new Float32Array();
    const { bits } = await store(values, dtype);
    const infinity = dtype === 'f16' ? 0x7c00 : 0x7f80;
    const wrong = patterns.filter((pattern, i) => {
      const stored = bits[i] ?? 0;
      return Number.isNaN(values[i]) ? (stored & 0x7fff) <= infinity : stored !== pattern;
    });
    expect([...wrong]).toEqual([]);
    // 2 signs x (mantissas but zero) at the highest exponent.
    expect(values.filter(Number.isNaN)).toHaveLength(dtype === 'f16' ? 2 * 1023 : 2 * 127);
  });

  test.each(['f16', 'bf16'] as const)('%s: no other value is nearer', async (dtype) => {
    const value = fc.float({ min: -60000, max: 60000, noNaN: true });
    const property = fc.asyncProperty(fc.array(value, { minLength: 1, maxLength: 40 }), async (values) => {
      const exact = Float32Array.from(values);
      const { back, bits } = await store(exact, dtype);
      const step = (by: number) => bits.map((pattern) => pattern + by);
      for (const neighbours of [step(1), step(-1)]) {
        const header = {
          x: { dtype: dtype.toUpperCase(), shape: [bits.length], data_offsets: [0, 2 * bits.length] },
        };
        const path = await fileOf(header, new Uint8Array(neighbours.buffer));
        const others = (await readAll(path)).get('x')?.data ?? new Float32Array();
        exact.forEach((x, i) => {
          const [own, other] = [Math.abs(x - (back[i] ?? nan)), Math.abs(x - (others[i] ?? nan))];
          // A step from zero downwards wraps around to a NaN.
          if (!Number.isNaN(other)) expect(own).toBeLessThanOrEqual(other);
        });
      }
    });
    await fc.assert(property, { numRuns: scaled(40, 1000) });
  });

  test('a finite number that f16 cannot hold is refused, and no file appears', async () => {
    const folder = await freshFolder();
    const tensors = new Map([['x', tensor([3], [1, 65520, 2])]]);
    await expect(writeSafetensors(join(folder, 'x.safetensors'), tensors, 'f16')).rejects.toThrow(
      /x: expected magnitudes below 65520 for f16, found 65520. Store it as bf16 or f32/,
    );
    expect(await readdir(folder)).toEqual([]);
  });
});
