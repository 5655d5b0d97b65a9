import { comparableText, sameTexts } from 'search-r3/dataset';
import { expect, test } from 'vitest';

test('texts are compared without Unicode form, case and white space', () => {
  for (const text of [
    'Caf\u00e9 au lait',
    'Cafe\u0301  au\nlait ',
    '\u3000CAF\u00c9\u00a0au\tlait',
    '\uff23afé au lait',
  ])
    expect(comparableText(text)).toBe('caf\u00e9 au lait');
  expect(comparableText('cafe au lait')).toBe('cafe au lait');
});

test('ids of the same text, each with itself, in their order', () => {
  const groups = sameTexts([
    ['a', 'one two'],
    ['b', 'other'],
    ['c', 'One  two'],
    ['d', 'one two\n'],
    ['e', ''],
    ['f', ' '],
  ]);
  expect(['a', 'b', 'c', 'd', 'e', 'f', 'unknown'].map(groups)).toEqual([
    ['a', 'c', 'd'],
    undefined,
    ['a', 'c', 'd'],
    ['a', 'c', 'd'],
    ['e', 'f'],
    ['e', 'f'],
    undefined,
  ]);
});
