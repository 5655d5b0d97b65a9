/** Noise belongs to tokens and layers: it is the same in whatever batch a token is, and differs between all of them. */
import { rowNoiseName } from 'search-r3/decoder';
import { collate, DropoutNoise } from 'search-r3/train';
import { expect, test } from 'vitest';

const sequences = [
  [1, 2, 3],
  [4, 5],
  [6, 7, 8, 9],
].map((ids) => ({ ids, labels: [] }));
const LINEARS = new Map([
  ['first', 5],
  ['second', 5],
]);

/** Noise of tokens by sequence and position, of one group with these members, and all feeds. */
function noiseOf(noise: DropoutNoise, members: number[]) {
  const collated = collate(sequences, [members], () => 'ids');
  const all = Array.from({ length: collated.tokens }, (_, i) => i);
  const feeds = noise.feeds(sequences, collated, new Map([['rows', all]]));
  const rows = [...feeds[rowNoiseName('rows')]!.data] as number[];
  return {
    feeds,
    of: (member: number) => {
      const start = collated.start.get(member)!;
      return rows.slice(start, start + sequences[member]!.ids.length);
    },
  };
}

test('a token has the same noise in every batch, and another one than its neighbours', () => {
  const noise = new DropoutNoise(7, LINEARS);
  const [whole, part] = [noiseOf(noise, [0, 1, 2]), noiseOf(noise, [2, 1])];
  for (const member of [1, 2]) expect(part.of(member)).toEqual(whole.of(member));
  const tokens = [0, 1, 2].flatMap(whole.of);
  expect(new Set(tokens).size).toBe(9);
  expect(tokens.every((value) => value >= 1 && value < 2)).toBe(true);
});

test('layers and seeds differ', () => {
  const columns = (seed: number) => {
    const { feeds } = noiseOf(new DropoutNoise(seed, LINEARS), [0]);
    return ['first', 'second'].map((name) => [...feeds[`dropout_columns[${name}]`]!.data]);
  };
  const [first, second] = columns(1);
  expect(first).toHaveLength(5);
  expect(second).not.toEqual(first);
  expect(columns(2)[0]).not.toEqual(first);
  expect(columns(1)).toEqual([first, second]);
});
