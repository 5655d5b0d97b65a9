import fc from 'fast-check';
import {
  broadcast,
  canonicalShape,
  type Dim,
  formatShape,
  normalizeAxis,
  product,
  quotient,
  sameShape,
} from 'onnx-grad';
import { describe, expect, test } from 'vitest';

const NAMES = ['B', 'S', 'heads', 'length_2', 'Q'];
const atom = fc.oneof(fc.integer({ min: 0, max: 12 }), fc.constantFrom(...NAMES));
const positive = fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constantFrom(...NAMES));
const dims = (element: fc.Arbitrary<Dim>) =>
  fc.array(element, { maxLength: 5 }).map((parts) => product(...parts));

/** The size of a dimension for given symbols, evaluated from its spelling. */
const sizeOf = (dim: Dim, sizes: Readonly<Record<string, number>>): number =>
  String(dim)
    .split('*')
    .reduce((size, factor) => size * (sizes[factor] ?? Number(factor)), 1);
const sizes = fc.record(Object.fromEntries(NAMES.map((name) => [name, fc.integer({ min: 1, max: 50 })])));

describe('product', () => {
  test('has one spelling, whatever the order and grouping', () => {
    fc.assert(
      fc.property(
        fc.array(atom, { maxLength: 6 }),
        fc.infiniteStream(fc.double({ min: 0, max: 1 })),
        (parts, keys) => {
          const shuffled = parts
            .map((part) => ({ part, key: keys.next().value ?? 0 }))
            .sort((a, b) => a.key - b.key)
            .map(({ part }) => part);
          const at = Math.floor(parts.length / 2);
          const grouped = product(product(...shuffled.slice(0, at)), product(...shuffled.slice(at)));
          expect(grouped).toBe(product(...parts));
        },
      ),
    );
  });

  test('is the product of the sizes', () => {
    fc.assert(
      fc.property(fc.array(atom, { maxLength: 6 }), sizes, (parts, values) => {
        const expected = parts.reduce<number>((size, part) => size * sizeOf(part, values), 1);
        expect(sizeOf(product(...parts), values)).toBe(expected);
      }),
    );
  });

  test.each<[Dim[], Dim]>([
    [[], 1],
    [['S', 4, 'B', 2], '8*B*S'],
    [['B', 'B'], 'B*B'],
    [[1, 'B'], 'B'],
    [[0, 'B'], 0],
    [['2*S', 'B*Q'], '2*B*Q*S'],
  ])('of %j is %s', (parts, expected) => expect(product(...parts)).toBe(expected));
});

describe('quotient', () => {
  test('undoes product', () => {
    fc.assert(
      fc.property(dims(atom), dims(positive), (a, b) => {
        expect(quotient(product(a, b), b)).toBe(a);
      }),
    );
  });

  test.each<[Dim, Dim]>([
    [7, 2],
    ['B', 'S'],
    ['B', 'B*B'],
    ['3*B', 2],
    [4, 0],
    [0, 0],
    [4, 'B'],
  ])('%s / %s is refused', (a, b) => {
    expect(() => quotient(a, b)).toThrow(new RangeError(`quotient: expected ${b} to divide ${a}`));
  });
});

describe('broadcast', () => {
  const shape = fc.array(fc.oneof(fc.constant(1), positive), { maxLength: 4 });

  test('is symmetric, idempotent, and indifferent to scalars and leading ones', () => {
    fc.assert(
      fc.property(shape, shape, (a, b) => {
        let joined: Dim[];
        try {
          joined = broadcast('test', a, b);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
          expect(() => broadcast('test', b, a)).toThrow(RangeError);
          return;
        }
        expect(broadcast('test', b, a)).toEqual(joined);
        expect(broadcast('test', joined, a)).toEqual(joined);
        expect(broadcast('test', joined, [])).toEqual(joined);
        expect(broadcast('test', [1, ...joined], a)).toEqual([1, ...joined]);
      }),
    );
  });

  test('names the caller and both shapes', () => {
    expect(() => broadcast('mul', ['B', 3], ['S', 3])).toThrow(
      new RangeError('mul: shapes [B, 3] and [S, 3] do not broadcast'),
    );
    expect(() => broadcast('mul', [2, 3], [3, 2])).toThrow('mul: shapes [2, 3] and [3, 2] do not broadcast');
  });
});

test('shapes are equal if their canonical dimensions are', () => {
  expect(sameShape(['B', 3], ['B', 3])).toBe(true);
  expect(sameShape(['B', 3], ['B'])).toBe(false);
  expect(sameShape([product('S', 'B')], ['B*S'])).toBe(true);
  expect(formatShape(['B', 3])).toBe('[B, 3]');
});

test('canonicalShape orders products and refuses invalid sizes', () => {
  expect(canonicalShape('test', ['2*S*B', '1*B', 0, 3])).toEqual(['2*B*S', 'B', 0, 3]);
  for (const bad of [-1, 1.5, Number.NaN, '', 'B S', 'B*', 'B*2', '-3*B', '1x', 'B*1.5']) {
    expect(() => canonicalShape('input x', ['B', bad]), `${bad}`).toThrow(
      new RangeError(`input x: expected sizes or symbols, found ${JSON.stringify(bad)}`),
    );
  }
});

test('normalizeAxis counts negative axes from the end', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 6 }), fc.integer({ min: -9, max: 9 }), (rank, axis) => {
      if (axis >= -rank && axis < rank) {
        expect(normalizeAxis('test', axis, rank)).toBe(axis < 0 ? axis + rank : axis);
      } else {
        expect(() => normalizeAxis('test', axis, rank)).toThrow(
          new RangeError(`test: expected an axis in [${-rank}, ${rank}), found ${axis}`),
        );
      }
    }),
  );
});
