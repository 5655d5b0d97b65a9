/** Indexes of shorter vectors, and searches with several reasonings, in the library. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadRetriever } from 'search-r3';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeModel } from '../cli/tiny.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'dimensions-'));
});
afterAll(() => rm(cwd, { recursive: true }));

const DOCUMENTS = ['bread soup', 'lute', 'ships of elmo', 'choir', 'wool'].map((text, i) => ({
  id: `d${i}`,
  text,
}));

test('an index of shorter vectors is searched and extended with vectors cut alike', async () => {
  await using retriever = await loadRetriever(await writeModel(join(cwd, 'model')), { thread: 'current' });
  const out = join(cwd, 'index');
  const dimensions = 7;
  expect(await retriever.index(DOCUMENTS.slice(0, 4), { out, dimensions })).toMatchObject({ dimension: 7 });
  const index = await retriever.open(out);
  await index.add(DOCUMENTS.slice(4));
  const how = {
    ...{ reasoning: true, samples: 3, temperature: 1, seed: 4 },
    ...({ fusion: 'direct+mean', directWeight: 0.25 } as const),
  };
  const [found] = await index.search(['music'], { ...how, k: 5 });
  const [query] = await retriever.embed(['music'], { ...how, dimensions });
  expect(found!.reasonings).toEqual(query!.reasonings);
  const documents = await retriever.embed(
    DOCUMENTS.map(({ text }) => text),
    { role: 'document' },
  );
  expect(found!.results.length).toBe(5);
  for (const { id, score } of found!.results) {
    const cut = documents[Number(id.slice(1))]!.vector.slice(0, dimensions);
    const norm = Math.hypot(...cut);
    const cosine = cut.reduce((sum, x, i) => sum + (x / norm) * query!.vector[i]!, 0);
    expect(score).toBeCloseTo(cosine, 5);
  }
  const refused = retriever.index(DOCUMENTS, { out: join(cwd, 'longer'), dimensions: 1000 });
  await expect(refused).rejects.toThrow('dimensions');
});
