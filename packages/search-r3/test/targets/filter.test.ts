/** The filter: verdicts against ranks worked out by hand, with a dense model of word counts and with a tiny real one. */

import { PRESETS } from 'search-r3/checkpoint';
import { Embedder } from 'search-r3/embed';
import { Model, makeEmbeddingModel } from 'search-r3/model';
import { sftOptionsSchema, type TrainingQuery } from 'search-r3/sft';
import { type DenseModel, denseModel, makeTargets, TargetFilter, withoutSpans } from 'search-r3/targets';
import { expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { DOCUMENTS, QUERIES } from '../sft/tiny-data.js';

test.each([
  ['one two three four', 'zero two THREE, four five', 'one'],
  ['two three', 'two three four', 'two three'],
  ['a b c x b c d', 'a b c d', 'x'],
  ['Key terms: red, green and blue', 'red green blue', 'Key terms red green and blue'],
  ['a b c', 'a b', 'a b c'],
  ['', 'a b c', ''],
])('without copied spans: %s | %s', (text, document, left) => {
  expect(withoutSpans(text, document)).toBe(left);
});

const WORDS = 'red green blue heavy light round sour sweet'.split(' ');
/** Counts of known words, scaled to length 1. */
const counting: DenseModel = {
  embed: async (texts) =>
    texts.map((text) => {
      const words = text.toLowerCase().match(/\w+/g) ?? [];
      const counts = WORDS.map((known) => words.filter((word) => word === known).length);
      return Float32Array.from(counts, (count) => count / Math.hypot(...counts, 1e-9));
    }),
};
const TEXTS = new Map([
  ['d1', 'red heavy round sour'],
  ['d2', 'red light'],
  ['d3', 'green sweet'],
]);
const query = (id: string, text: string, relevant: string): TrainingQuery => ({
  ...{ id, text },
  relevant: new Map([[relevant, 1]]),
});
const asked = [query('a', 'red', 'd1'), query('b', 'green', 'd3'), query('c', 'light', 'd2')];

test('kept if the rank improves, else if the margin does; copies do not count', async () => {
  const filter = new TargetFilter(counting, asked, (id) => TEXTS.get(id)!);
  const [a, b, c] = asked as [TrainingQuery, TrainingQuery, TrainingQuery];
  const verdicts = await filter.judge([
    { query: a, reasoning: 'round and heavy' },
    { query: a, reasoning: 'light' },
    { query: a, reasoning: 'Heavy, round: sour' },
    { query: b, reasoning: 'sweet' },
    { query: b, reasoning: 'red' },
    { query: c, reasoning: 'sour' },
    { query: c, reasoning: 'nothing known' },
  ]);
  expect(verdicts.map(({ kept }) => kept)).toEqual([true, false, false, true, false, false, false]);
  // cos(red, d1) = 1/2 and cos(red, d2) = 0.707; with both words, 3 / (2 sqrt 3) = 0.866 and 0.408.
  expect(verdicts[0]!.why).toBe('rank 2, margin -0.207 without it; rank 1, margin 0.458 with it');
  expect(verdicts[2]!.why).toBe('all of it is copied from the document');
});

const policy = tinyPolicy('filter', { layers: 1 });
const base = Model.of(policy);

test('the dense model embeds with the prompts topics, whatever the prompts of the model', async () => {
  const { query: topics } = PRESETS.topics.prompts;
  const plain = makeEmbeddingModel({ ...policy, prompts: { query: topics, document: topics } });
  const texts = ['where food of ada', 'trade'];
  const expected = await new Embedder(Model.of(plain)).embed(texts, { role: 'document', maxLength: 40 });
  const found = await denseModel(base, 40).embed(texts, 'document');
  for (const [i, { vector }] of expected.entries()) {
    for (const [j, value] of vector.entries()) expect(found[i]![j]).toBeCloseTo(value, 6);
  }
});

test('filter: verdicts are in the file; what is dropped has no tokens', async () => {
  const data = {
    ...{ base, corpus: [...DOCUMENTS.keys()], analyzer: 'text' as const },
    document: (id: string) => DOCUMENTS.get(id)!,
    known: new Set(QUERIES.map(({ id }) => id)),
  };
  const options = sftOptionsSchema.parse({
    reasoning: { source: 'grounded', styles: ['terms'], filter: true },
  });
  const targets = await makeTargets(QUERIES, data, options);
  const filter = new TargetFilter(denseModel(base, options.maxLength), QUERIES, data.document);
  for (const q of QUERIES) {
    const { reasoning, kept, why } = targets.get(q.id)!;
    if (reasoning === '') continue;
    expect({ kept, why }).toEqual((await filter.judge([{ query: q, reasoning }]))[0]);
  }
  expect(new Set([...targets.values()].map(({ kept }) => kept)).size).toBe(2);
});
