/** Several reasonings of a query: the mean of their vectors. */
import { Embedder } from 'search-r3/embed';
import { RetrieverEvaluation } from 'search-r3/evaluate';
import { Model } from 'search-r3/model';
import { trainSettings } from 'search-r3/pipeline';
import { expect, test } from 'vitest';
import { tinyPolicy } from '../cli/tiny.js';
import { tinyData } from './tiny-data.js';

const DATA = tinyData();
const TEST = DATA.qrels.get('test')!;
const SIZES = { maxLength: 40, maxNewTokens: 7 };

test('ranks by the mean over samples', async () => {
  const model = Model.of(tinyPolicy(4));
  await using _ = model;
  const embedder = new Embedder(model);
  const how = { ...SIZES, temperature: 1.5 };
  const several = new RetrieverEvaluation(embedder, DATA, { ...how, systems: ['reasoned'], samples: 3 });
  const { rankings, reasoned } = await several.run(TEST);
  const texts = [...TEST.keys()].map((id) => DATA.queries.get(id)!.text);
  const embedded = await embedder.embed(texts, { ...how, reasoning: true, samples: 3 });
  const vectors = Float32Array.from(embedded.flatMap(({ vector }) => [...vector]));
  expect(rankings.reasoned).toEqual(await several.search([...TEST.keys()], vectors));
  expect([...reasoned.values()].map(({ reasoning }) => reasoning)).toEqual(
    embedded.map(({ reasoning }) => reasoning),
  );
  const one = await embedder.embed(texts, { ...how, reasoning: true });
  expect(one.map(({ vector }) => vector)).not.toEqual(embedded.map(({ vector }) => vector));
  await several.dispose();
});

test('several samples without a temperature are refused', () => {
  const parse = (evaluate: object) => trainSettings.safeParse({ data: 'd', out: 'o', evaluate });
  expect(parse({ samples: 2, temperature: 1 }).success).toBe(true);
  expect(parse({ samples: 2 }).error?.issues[0]?.message).toMatch(/^expected a temperature above 0/);
});
