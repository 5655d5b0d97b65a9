/** Grounded reasoning: each style against what it should find in a small corpus, worked out by hand. */

import type { GroundedStyle, TrainingQuery } from 'search-r3/sft';
import { Definitions, GroundedWriter } from 'search-r3/targets';
import { expect, test } from 'vitest';

const CORPUS = new Map([
  [
    'd1',
    'Vitamin D lowers inflammation. In the trial, Ibuprofen doses did not change cytokine levels. Cytokine counts rose.',
  ],
  ['d2', 'Ibuprofen is a drug against pain. The trial was short.'],
  ['d3', 'Deep vein thrombosis (DVT) follows long flights. Vitamin D is scarce in the north.'],
  ['d4', 'Statins, a class of drugs, lower cholesterol. The trial was long.'],
]);
const document = (id: string) => CORPUS.get(id)!;
const query = (text: string, relevant: string, id = 'q'): TrainingQuery => ({
  ...{ id, text },
  relevant: new Map([[relevant, 1]]),
});
const writer = (styles: GroundedStyle[], seed = 0) =>
  GroundedWriter.create([...CORPUS.values()], { styles, seed }, { analyzer: 'text' });

test('terms: those of the document that the query lacks in any form, as the document spells and orders them', async () => {
  const terms = (await writer(['terms'])).write(query('Do vitamins lower pain?', 'd1'), document)!;
  expect(terms.style).toBe('terms');
  expect(terms.reasoning).toMatch(/^Key terms: .* and .*\.$/);
  const words = terms.reasoning.slice('Key terms: '.length, -1).split(/, | and /);
  expect(words.length).toBe(8);
  // By tf ln(4 / n): cytokine twice in one document weighs 2 ln 4; what one document has, ln 4; "ibuprofen" of two, ln 2.
  expect(words).toContain('cytokine');
  expect(words).not.toContain('Ibuprofen');
  for (const form of ['Vitamin', 'lowers', 'trial']) expect(words).not.toContain(form);
  const places = words.map((word) => document('d1').search(new RegExp(`\\b${word}\\b`, 'u')));
  expect(places).toEqual(places.toSorted((a, b) => a - b));
  expect(Math.min(...places)).toBeGreaterThan(-1);
});

test('sentence: the one of the document that shares most with the query', async () => {
  const sentences = await writer(['sentence']);
  expect(sentences.write(query('ibuprofen and cytokine', 'd1'), document)).toEqual({
    style: 'sentence',
    reasoning: 'In the trial, Ibuprofen doses did not change cytokine levels.',
  });
  expect(sentences.write(query('aspirin', 'd1'), document)).toBeUndefined();
});

test('definitions: by is a, apposition and abbreviation; longer names first', () => {
  const split = (text: string) => text.toLowerCase().match(/\p{L}+/gu) ?? [];
  const found = new Definitions(CORPUS.values(), split);
  const dvt = 'Deep vein thrombosis (DVT) follows long flights.';
  const ibuprofen = 'Ibuprofen is a drug against pain.';
  expect(found.of('does ibuprofen help', 2)).toEqual([ibuprofen]);
  expect(found.of('statins work', 2)).toEqual(['Statins, a class of drugs, lower cholesterol.']);
  expect(found.of('is DVT common', 2)).toEqual([dvt]);
  expect(found.of('ibuprofen for deep vein thrombosis', 2)).toEqual([dvt, ibuprofen]);
  expect(found.of('ibuprofen for deep vein thrombosis', 1)).toEqual([dvt]);
  expect(found.of('vein', 2)).toEqual([]);
});

test('styles are drawn by seed and query id; one with nothing to say gives way', async () => {
  const styles: GroundedStyle[] = ['terms', 'sentence', 'definitions'];
  const all = await writer(styles);
  const drawn = (given: GroundedWriter) =>
    Array.from(
      { length: 300 },
      (_, i) => given.write(query('ibuprofen levels', 'd1', `q${i}`), document)?.style,
    );
  const counts = styles.map((style) => drawn(all).filter((one) => one === style).length);
  for (const count of counts) expect(Math.abs(count - 100)).toBeLessThan(35);
  expect(drawn(await writer(styles))).toEqual(drawn(all));
  expect(drawn(await writer(styles, 1))).not.toEqual(drawn(all));
  const without = Array.from(
    { length: 30 },
    (_, i) => all.write(query('aspirin', 'd1', `q${i}`), document)?.style,
  );
  expect(new Set(without)).toEqual(new Set(['terms']));
  expect((await writer(['sentence'])).write(query('aspirin', 'd1'), document)).toBeUndefined();
});
