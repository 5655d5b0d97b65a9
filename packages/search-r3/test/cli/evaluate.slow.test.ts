import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { directPrompts, saveCheckpoint } from 'search-r3/checkpoint';
import { documentText, loadBeir, QUERY_KINDS } from 'search-r3/dataset';
import { Embedder } from 'search-r3/embed';
import { Bm25Index, loadTrecQrels, loadTrecRun, scoreRankings } from 'search-r3/evaluate';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cli, cliJson, tinyCollection, tinyPolicy, writeCollection, writeModel } from './tiny.js';

interface Result {
  queries: number;
  systems: {
    system: string;
    queries: number;
    scores: Record<string, { mean: number; low: number; high: number }>;
  }[];
  comparisons: { metric: string; baseline: string; system: string; p: number }[];
  fusion: { weights: Record<string, number>; tunedOn: string; queries: number } | null;
  completed: number | null;
  truncated: Record<string, number>;
  kinds: { kind: string; queries: number; scores: Record<string, number> }[] | null;
  files: string[];
}

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-evaluate-'));
  await writeCollection(join(cwd, 'data'));
  await writeModel(join(cwd, 'model'));
});
afterAll(() => rm(cwd, { recursive: true }));

const evaluate = (...argv: string[]) =>
  cliJson<Result>(['evaluate', '--model', 'model', '--data', 'data', ...argv], cwd);

describe('on a collection', () => {
  let result: Result;
  beforeAll(async () => {
    result = await evaluate('--run-dir', 'trec');
  });
  const scoresOf = (system: string) => result.systems.find((entry) => entry.system === system)?.scores;

  test('the figures are those of the run files it wrote', async () => {
    const systems = ['bm25', 'direct', 'hybrid', 'reasoned', 'hybrid_reasoned'];
    expect(result.systems.map(({ system, queries }) => [system, queries])).toEqual(
      systems.map((system) => [system, 6]),
    );
    expect(result.files).toEqual(['qrels', ...systems].map((name) => join('trec', `${name}.trec`)));
    const qrels = await loadTrecQrels(join(cwd, 'trec/qrels.trec'));
    expect(qrels).toEqual((await loadBeir(join(cwd, 'data'))).qrels.get('test'));
    for (const system of systems) {
      const { rankings, tag } = await loadTrecRun(join(cwd, `trec/${system}.trec`));
      expect(tag).toBe(`search-r3-${system}`);
      const scores = scoreRankings(qrels, rankings);
      for (const [metric, { mean }] of Object.entries(scores)) {
        expect(scoresOf(system)?.[metric]?.mean).toBeCloseTo(mean, 12);
      }
    }
  });

  test('BM25 and direct rankings are those of the library by itself', async () => {
    const { corpus, queries, qrels } = await loadBeir(join(cwd, 'data'));
    const judged = [...(qrels.get('test')?.keys() ?? [])];
    const bm25 = Bm25Index.build(corpus);
    const lexical = await loadTrecRun(join(cwd, 'trec/bm25.trec'));
    const embedder = await Embedder.create(tinyPolicy());
    const documents = await embedder.embed(corpus.map(documentText), { role: 'document' });
    const dense = await loadTrecRun(join(cwd, 'trec/direct.trec'));
    for (const id of judged) {
      const text = queries.get(id)?.text as string;
      expect(lexical.rankings.get(id)).toEqual(
        new Map(bm25.search(text, 100).map((hit) => [hit.id, hit.score])),
      );
      const query = (await embedder.embed([text]))[0]?.vector as Float32Array;
      for (const [i, { vector }] of documents.entries()) {
        const cosine = vector.reduce((sum, x, j) => sum + x * (query[j] as number), 0);
        expect(dense.rankings.get(id)?.get(corpus[i]?.id as string)).toBeCloseTo(cosine, 5);
      }
    }
    await embedder.dispose();
  });

  test('intervals contain the means; every pair of systems is compared; hybrids are tuned on held-out queries', () => {
    for (const { scores } of result.systems) {
      for (const { mean, low, high } of Object.values(scores)) {
        expect(low).toBeLessThanOrEqual(mean);
        expect(high).toBeGreaterThanOrEqual(mean);
      }
    }
    expect(result.comparisons).toHaveLength(4 * 10);
    expect(Object.keys(result.fusion?.weights ?? {})).toEqual(['hybrid', 'hybrid_reasoned']);
    // A tenth of the 18 training queries.
    expect(result.fusion).toMatchObject({ tunedOn: 'dev', queries: 2 });
  });

  test('the table for people', async () => {
    const { status, stdout } = await cli(
      ['evaluate', '--model', 'model', '--data', 'data', '--systems', 'bm25', 'reasoned', '--quiet'],
      { cwd },
    );
    expect(status).toBe(0);
    const mean = scoresOf('bm25')?.['ndcg@10']?.mean.toFixed(3);
    expect(stdout).toMatch(/^model on data, split test, 24 documents\n/);
    expect(stdout).toMatch(new RegExp(`\\nbm25 +6 +${mean} \\[`));
    expect(stdout).toMatch(/\nreasoned - bm25 +ndcg@10 +6 +[+-][\d.]+ \[.*\] +[\d.]+\n/);
    expect(stdout).toMatch(/\nreasoning ended by the model itself: [\d.]+ %/);
    expect(stdout).toContain('\ncut to fit: 0 of 24 documents\n');
  });

  test('counts what is cut', async () => {
    const { tokenizer, prompts } = tinyPolicy();
    const texts = tinyCollection().corpus.map(({ _id, ...document }) =>
      documentText({ id: _id, ...document }),
    );
    const whole = await directPrompts(tokenizer, prompts, texts, 'document');
    const longer = whole.filter(({ ids }) => ids.length > 24);
    expect(longer.length).toBeGreaterThan(0);
    expect(longer.length).toBeLessThan(24);
    const { truncated } = await evaluate('--systems', 'direct', '--max-length', '24');
    expect(truncated).toEqual({ documents: longer.length, direct: 0 });
  });

  test('a fusion tuned on few queries is told of', async () => {
    const run = (...argv: string[]) =>
      cli(['evaluate', '--model', 'model', '--data', 'data', '--systems', ...argv], { cwd });
    const few = await run('hybrid');
    expect(few.stderr).toContain(
      'The weights of the hybrids are tuned on few training queries (2, the split dev): ',
    );
    expect(few.stdout).toMatch(/\nhybrid: .* dense, weights tuned on the split dev \(queries: 2\)\n/);
    expect((await run('direct')).stderr).not.toContain('tuned');
    const { corpus, queries, qrels } = tinyCollection();
    const more = Array.from({ length: 30 }, (_, i) => ({ _id: `m${i}`, text: `music of ${i}` }));
    const dev = more.map(({ _id }, i): [string, string, number] => [_id, `d${i % 24}`, 1]);
    const folder = join(cwd, 'many');
    await writeCollection(folder, { corpus, queries: [...queries, ...more], qrels: { ...qrels, dev } });
    const many = await run('hybrid', '--data', 'many');
    expect(many.stdout).toContain('weights tuned on the split dev (queries: 30)');
    expect(many.stderr).not.toContain('tuned on few');
  });

  test('fusions are tuned on what no stage learns from, and never on what is evaluated', async () => {
    const { corpus, queries } = tinyCollection();
    const more = Array.from({ length: 30 }, (_, i) => ({ _id: `m${i}`, text: `music of ${i}` }));
    const judged = (from: number, document: (i: number) => string) =>
      more.slice(from).map(({ _id }, i): [string, string, number] => [_id, document(i), 1]);
    const train = [...judged(10, (i) => `d${i}`), ...judged(0, () => 'not there').slice(0, 10)];
    const test = judged(28, (i) => `d${i}`);
    await writeCollection(join(cwd, 'gaps'), {
      corpus,
      queries: [...queries, ...more],
      qrels: { train, test },
    });
    const evaluated = (...argv: string[]) =>
      evaluate('--data', 'gaps', '--allow-missing', '--systems', 'bm25', 'direct', 'hybrid', ...argv);
    // A tenth of the 20 training queries whose documents are there, as training holds it out.
    expect((await evaluated()).fusion).toMatchObject({ tunedOn: 'dev', queries: 2 });
    const { status, stdout, stderr } = await cli(
      ['evaluate', '-m', 'model', '-d', 'gaps', '--allow-missing', '--split', 'train', '--systems', 'hybrid'],
      { cwd },
    );
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toContain('hybrid');
  });

  test('an id that no run file can hold is told, and the evaluation is not lost', async () => {
    const { corpus, queries, qrels } = tinyCollection();
    const spaced = corpus.map((document, i) => (i === 23 ? { ...document, _id: 'd 23' } : document));
    await writeCollection(join(cwd, 'spaced'), { corpus: spaced, queries, qrels });
    const argv = ['-m', 'model', '-d', 'spaced', '--systems', 'bm25', 'direct', '--run-dir', 'spaced-runs'];
    const { status, stdout, stderr } = await cli(['evaluate', ...argv, '--allow-missing'], { cwd });
    expect(status).toBe(2);
    expect(stdout).toMatch(/\ndirect /);
    expect(stderr).toMatch(/document id: expected .*, found "d 23"/);
  });

  test('lengths are those the model was trained with, unless given', async () => {
    await saveCheckpoint(join(cwd, 'remembers'), {
      ...tinyPolicy(),
      limits: { maxLength: 24, maxNewTokens: 3 },
    });
    const evaluated = (model: string, ...argv: string[]) =>
      cliJson<Result>(
        ['evaluate', '--model', model, '--data', 'data', '--systems', 'direct', 'reasoned', ...argv],
        cwd,
      );
    const { model: _, ...short } = (await evaluated('remembers')) as Result & { model: string };
    for (const given of [
      ['--max-length', '24', '--max-new-tokens', '3'],
      ['--set', 'embed.maxLength=24', '--set', 'embed.maxNewTokens=3'],
    ]) {
      expect(await evaluated('model', ...given)).toMatchObject(short);
    }
    expect(short.truncated.documents).toBeGreaterThan(0);
    const { truncated } = await evaluated('remembers', '--max-length', '64');
    expect(truncated.documents).toBe(0);
  });

  test('reasoning that leaves no room for the prompt is refused before documents are encoded', async () => {
    const argv = ['evaluate', '-m', 'model', '-d', 'data', '--max-new-tokens', '1000'];
    const { status, stderr } = await cli(argv, { cwd });
    expect(status).toBe(2);
    expect(stderr).toMatch(/maxNewTokens: expected at most \d+, beside the \d+ tokens of the prompt/);
    expect(stderr).not.toContain('documents');
  });

  test('--queries takes the first judged queries', async () => {
    const { queries, completed } = await evaluate('--systems', 'bm25', '--queries', '4');
    expect({ queries, completed }).toEqual({ queries: 4, completed: null });
  });
});

test('depth and tuning queries are those of the settings', async () => {
  const { fusion } = await evaluate(
    ...['--systems', 'bm25', 'direct', 'hybrid', '--run-dir', 'shallow'],
    ...['--set', 'evaluate.depth=7', '--set', 'evaluate.tuningQueries=1'],
  );
  expect(fusion).toMatchObject({ tunedOn: 'dev', queries: 1 });
  const { rankings } = await loadTrecRun(join(cwd, 'shallow/direct.trec'));
  expect([...rankings.values()].map(({ size }) => size)).toEqual(Array(6).fill(7));
  // The best seven of the ranking of all 24 documents.
  await evaluate('--systems', 'bm25', 'direct', '--run-dir', 'deep');
  for (const system of ['bm25', 'direct']) {
    const shallow = (await loadTrecRun(join(cwd, `shallow/${system}.trec`))).rankings;
    const deep = (await loadTrecRun(join(cwd, `deep/${system}.trec`))).rankings;
    for (const [id, ranking] of deep) expect(shallow.get(id)).toEqual(new Map([...ranking].slice(0, 7)));
  }
});

test('--allow-missing scores judgements of missing documents and queries as trec_eval does', async () => {
  // BM25 puts d0 first. Ideal of q0 with the missing document of grade 1: 1 + 1 / log2(3); `nobody` scores 0.
  const qrels = {
    odd: [
      ['q0', 'd0', 1],
      ['q0', 'gone', 1],
      ['nobody', 'd0', 1],
    ] as [string, string, number][],
  };
  await writeCollection(join(cwd, 'odd'), { qrels });
  const argv = ['--data', 'odd', '--split', 'odd', '--systems', 'bm25'];
  const { systems, queries } = await evaluate(...argv, '--allow-missing');
  expect(queries).toBe(2);
  expect(systems[0]?.scores['ndcg@10']?.mean).toBeCloseTo(1 / (1 + 1 / Math.log2(3)) / 2, 12);
});

test('without judgements to tune them on, hybrids are left out, or refused where asked for', async () => {
  await writeCollection(join(cwd, 'untuned'), { qrels: { test: [['q1', 'd1', 1]] } });
  const { systems, fusion } = await evaluate('--data', 'untuned');
  expect(systems.map(({ system }) => system)).toEqual(['bm25', 'direct', 'reasoned']);
  expect(fusion).toBeNull();
  const refused = await cli(
    ['evaluate', '--model', 'model', '--data', 'untuned', '--systems', 'bm25', 'hybrid', '--run-dir', 'none'],
    { cwd },
  );
  expect(refused.status).toBe(2);
  expect(refused.stderr).toBe(
    'error: untuned: qrels: expected a split dev or train to tune hybrid on, found none.\n',
  );
  expect(await readdir(cwd)).not.toContain('none');
});

test('in the built-in world, by kind of query', async () => {
  const shape = ['pretrain.model.layers=1', 'pretrain.optimization.warmupSteps=0'];
  const argv = ['pretrain', '--data', 'atlas', '--out', 'atlas', '--steps', '1', '--batch-size', '2'];
  await cliJson([...argv, ...shape.flatMap((value) => ['--set', value])], cwd);
  const { kinds, systems } = await cliJson<Result>(
    [
      'evaluate',
      '--model',
      'atlas/model',
      '--data',
      'atlas',
      '--systems',
      'bm25',
      'direct',
      '--queries',
      '40',
    ],
    cwd,
  );
  expect(kinds?.map(({ kind, queries }) => [kind, queries])).toEqual(QUERY_KINDS.map((kind) => [kind, 10]));
  for (const { system, scores } of systems) {
    const mean = (kinds ?? []).reduce((sum, kind) => sum + (kind.scores[system] as number) / 4, 0);
    expect(mean).toBeCloseTo(scores['ndcg@10']?.mean as number, 12);
  }
});
