/** Which hidden states a step finishes: rows worked out by hand on two padded groups of unequal lengths. */
import { collate, type TrainingSequence, wantedName, wantedRows } from 'search-r3/train';
import { expect, test } from 'vitest';

const of = (length: number): TrainingSequence => ({ ids: new Array<number>(length).fill(7), labels: [] });
/** Group 0 is 2 x 3 (flat positions 0 to 5), group 1 is 1 x 5 (6 to 10), group 2 is 1 x 2 (11 and 12). */
const collated = collate([of(5), of(2), of(3), of(2)], [[1, 2], [0], [3]], (group) => `ids_${group}`);
const numbers = (data: ArrayLike<unknown> | undefined) => Array.from(data ?? [], Number);

test('positions are told once each, by group, in the order of the rows', () => {
  expect(collated).toMatchObject({ groupStart: [0, 6, 11], tokens: 13 });
  const { feeds, row } = wantedRows(collated, [10, 4, 0, 10, 12, 7], wantedName);
  expect(Object.entries(feeds).map(([name, { data }]) => [name, numbers(data)])).toEqual([
    ['wanted_0', [0, 4]],
    ['wanted_1', [1, 4]],
    ['wanted_2', [1]],
  ]);
  expect([...row]).toEqual([
    [0, 0],
    [4, 1],
    [7, 2],
    [10, 3],
    [12, 4],
  ]);
});

test('a group in which nothing is wanted gives its first position, and the rows behind it move on', () => {
  const { feeds, row } = wantedRows(collated, [3, 12], wantedName);
  expect(numbers(feeds.wanted_1?.data)).toEqual([0]);
  expect(row.get(12)).toBe(2);
});
