/** What filters are turned into, for stores that translate them. `store-contract.ts` tests what they accept. */
import fc from 'fast-check';
import { validate } from 'search-r3/run';
import { type Filter, matches, parseFilter, storeSearchSchema } from 'search-r3/vectors';
import { expect, test } from 'vitest';

const field = (path: string[], ...comparisons: object[]) => ({ kind: 'field', path, comparisons });
const within = (...values: unknown[]) => ({ operator: 'in', values });

test.each<[Filter, object]>([
  [{}, { kind: 'and', parts: [] }],
  [{ year: 2020 }, field(['year'], within(2020))],
  [{ 'metadata.url': { $exists: true } }, field(['metadata', 'url'])],
  [{ year: { $exists: false } }, { kind: 'not', part: field(['year']) }],
  [{ year: { $ne: 1 } }, { kind: 'not', part: field(['year'], within(1)) }],
  [
    { year: { $gte: 1, $in: [2, 3], $nin: [4] } },
    {
      kind: 'and',
      parts: [
        field(['year'], within(2, 3), { operator: 'gte', value: 1 }),
        { kind: 'not', part: field(['year'], within(4)) },
      ],
    },
  ],
  [
    { $or: [{ a: 'x' }, { b: true, c: { $lt: 'y' } }], d: 1 },
    {
      kind: 'and',
      parts: [
        {
          kind: 'or',
          parts: [
            field(['a'], within('x')),
            {
              kind: 'and',
              parts: [field(['b'], within(true)), field(['c'], { operator: 'lt', value: 'y' })],
            },
          ],
        },
        field(['d'], within(1)),
      ],
    },
  ],
  [{ $not: { $and: [{ a: 1 }] } }, { kind: 'not', part: field(['a'], within(1)) }],
])('%j', (filter, predicate) => {
  expect(parseFilter(filter)).toEqual(predicate);
});

test('texts are ordered as their UTF-8 bytes are', () => {
  const text = fc.string({ unit: 'binary', maxLength: 4 });
  fc.assert(
    fc.property(text, text, (a, b) => {
      const order = Buffer.compare(Buffer.from(a), Buffer.from(b));
      expect(matches(parseFilter({ t: { $gt: b } }), { t: a })).toBe(order > 0);
      expect(matches(parseFilter({ t: { $lte: b } }), { t: a })).toBe(order <= 0);
    }),
  );
});

test.each<[Filter, RegExp]>([
  [{ tenant: undefined }, /tenant: expected /],
  [{ tenant: { $eq: undefined } as object, a: 1 }, /tenant\.\$eq: expected /],
  [{ a: 1, $not: undefined }, /\$not: expected a value, found nothing/],
])('a value that is undefined is refused, not left out: %o', (filter, message) => {
  expect(() => parseFilter(filter)).toThrow(message);
});

test('errors name the source, the field and what was meant', () => {
  const filter = { $and: [{ year: { $get: 2020 } }] } as Filter;
  const told =
    '$and.0.year.$get: expected one of the keys $eq, $in, $gt, $gte, $lt, $lte, $ne, $nin, $exists';
  expect(() => parseFilter(filter, 'my filter')).toThrow(`my filter: ${told}, found the unknown key "$get"`);
  const search = () => validate(storeSearchSchema, { k: 3, filter }, 'search options');
  expect(search).toThrow(`search options: filter.${told}, found the unknown key "$get"`);
});
