/** Several reasonings of a query: the mean of their vectors. */
import { Embedder, type Embedding } from 'search-r3/embed';
import { RetrieverEvaluation } from 'search-r3/evaluate';
import { Model } from 'search-r3/model';
import { trainSettings } from 'search-r3/pipeline';
import { expect, test } from 'vitest';
import { tinyPolicy } from '../cli/tiny.js';
import { tinyData } from './tiny-data.js';

const DATA = tinyData();
const TEST = DATA.qrels.get('test')!;
const SIZES = { maxLength: 40, maxNewTokens: 7 };

test('ranks by the mean over seeds, and shows the first reasoning', async () => {
  const model = Model.of(tinyPolicy(4));
  await using _ = model;
  const embedder = new Embedder(model);
  const how = { ...SIZES, temperature: 1.5 };
  const several = new RetrieverEvaluation(embedder, DATA, { ...how, systems: ['reasoned'], samples: 3 });
  const { rankings, reasoned } = await several.run(TEST);
  const texts = [...TEST.keys()].map((id) => DATA.queries.get(id)!.text);
  const samples: Embedding[][] = [];
  for (const seed of [0, 1, 2]) samples.push(await embedder.embed(texts, { ...how, reasoning: true, seed }));
  const dimension = embedder.dimension;
  const mean = new Float32Array(texts.length * dimension);
  for (const query of texts.keys()) {
    const sum = samples[0]![query]!.vector.map((_, i) =>
      samples.reduce((total, sample) => total + sample[query]!.vector[i]!, 0),
    );
    mean.set(
      sum.map((value) => value / Math.hypot(...sum)),
      query * dimension,
    );
  }
  const expected = await several.search([...TEST.keys()], mean);
  for (const [id, ranking] of rankings.reasoned!) {
    expect([...ranking.keys()]).toEqual([...expected.get(id)!.keys()]);
    for (const [document, score] of ranking) expect(score).toBeCloseTo(expected.get(id)!.get(document)!, 5);
  }
  expect([...reasoned.values()].map(({ reasoning }) => reasoning)).toEqual(
    samples[0]!.map(({ reasoning }) => reasoning),
  );
  // Seeds differ, so the mean is not one of them.
  expect(samples[1]!.map(({ reasoning }) => reasoning)).not.toEqual(
    samples[0]!.map(({ reasoning }) => reasoning),
  );
  await several.dispose();
});

test('several samples without a temperature are refused', () => {
  const parse = (evaluate: object) => trainSettings.safeParse({ data: 'd', out: 'o', evaluate });
  expect(parse({ samples: 2, temperature: 1 }).success).toBe(true);
  expect(parse({ samples: 2 }).error?.issues[0]?.message).toMatch(/^expected a temperature above 0/);
});
