/** Texts in place of reasoning, and what their scores say, by rule. */
import { CONTROLS, type Control, controlTexts, verdictOf } from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';

const REASONED = [
  { query: 'food in bern', reasoning: 'bern is a city of cheese and bread' },
  { query: 'trade', reasoning: 'ships of copper' },
  { query: 'dance of ada', reasoning: 'ada was born in cork where they dance' },
  { query: 'tower', reasoning: '' },
];
const sorted = (text: string) => text.split(' ').sort();

describe('texts', () => {
  test('shuffled: the same words, mostly in another order', () => {
    const texts = controlTexts('shuffled', REASONED, 1);
    for (const [i, { reasoning }] of REASONED.entries()) expect(sorted(texts[i]!)).toEqual(sorted(reasoning));
    expect(texts[0]).not.toBe(REASONED[0]!.reasoning);
    expect(controlTexts('shuffled', REASONED, 1)).toEqual(texts);
    expect(controlTexts('shuffled', REASONED, 2)).not.toEqual(texts);
  });

  test('other: every reasoning once, none with its own query, whatever the seed', () => {
    for (let seed = 0; seed < 30; seed++) {
      const texts = controlTexts('other', REASONED, seed);
      expect(texts.toSorted()).toEqual(REASONED.map(({ reasoning }) => reasoning).toSorted());
      for (const [i, { reasoning }] of REASONED.entries()) expect(texts[i]).not.toBe(reasoning);
    }
  });

  test('filler and the query again have as many words', () => {
    for (const control of ['filler', 'repeated'] as const) {
      const lengths = controlTexts(control, REASONED, 0).map(
        (text) => text.split(' ').filter(Boolean).length,
      );
      expect(lengths).toEqual([8, 3, 8, 0]);
    }
    expect(controlTexts('repeated', REASONED, 0)[2]).toBe('dance of ada dance of ada dance of');
    const filler = controlTexts('filler', REASONED, 0);
    // The same for all queries of a length: it says nothing of them.
    expect(filler[0]).toBe(filler[2]);
  });
});

describe('verdict', () => {
  const gain = { difference: 0.1, p: 0.001 };
  const kept = (shares: Partial<Record<Control, number>>) =>
    CONTROLS.map((control) => ({ control, kept: shares[control] ?? 0 }));

  test.each([
    ['none', { difference: 0.1, p: 0.06 }, {}],
    ['none', { difference: -0.1, p: 0.001 }, {}],
    ['reasoning', gain, { shuffled: 0.9, filler: 0.3, other: -0.5, repeated: 0.33 }],
    ['length', gain, { filler: 0.7, other: 0.9 }],
    ['prompt', gain, { other: 0.8 }],
    ['prompt', gain, { repeated: 0.67 }],
    ['part', gain, { repeated: 0.5 }],
  ] as const)('%s', (expected, measured, shares) => {
    expect(verdictOf(measured, kept(shares))).toBe(expected);
  });
});
