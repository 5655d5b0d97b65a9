import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { directPrompts, saveCheckpoint } from 'search-r3/checkpoint';
import { documentText, loadBeir, QUERY_KINDS } from 'search-r3/dataset';
import { Embedder } from 'search-r3/embed';
import { Bm25Index, loadTrecQrels, loadTrecRun, scoreRankings } from 'search-r3/evaluate';
import { Model } from 'search-r3/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cli, cliJson, tinyCollection, tinyPolicy, writeCollection, writeModel } from './tiny.js';

interface Result {
  model: string | null;
  ownDocuments: { excludeSelf: string; queries: number; judged: number };
  analysis: { kind: string; bigrams: boolean; dictionary: string[] } | null;
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
    const embedder = new Embedder(Model.of(tinyPolicy()));
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
    await embedder.model.dispose();
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

describe('queries that are documents', () => {
  beforeAll(async () => {
    const corpus = Array.from({ length: 8 }, (_, i) => ({ _id: `a${i}`, text: `stew number ${i} is good` }));
    const qrels = { test: [0, 1, 2, 3].map((i): [string, string, number] => [`a${i}`, `a${i + 1}`, 1]) };
    await writeCollection(join(cwd, 'own'), { corpus, queries: corpus.slice(0, 4), qrels });
  });
  const run = async (...argv: string[]) => {
    const systems = ['--data', 'own', '--systems', 'bm25', 'direct', '--run-dir', 'own-runs'];
    const { ownDocuments } = await evaluate(...systems, ...argv);
    const runs = await Promise.all(
      ['bm25', 'direct'].map(
        async (system) => (await loadTrecRun(join(cwd, `own-runs/${system}.trec`))).rankings,
      ),
    );
    return { ownDocuments, runs };
  };

  test('are left out of their own ranking, by every system and in the run files, and counted', async () => {
    const { ownDocuments, runs } = await run();
    expect(ownDocuments).toEqual({ excludeSelf: 'auto', queries: 4, judged: 0 });
    for (const rankings of runs) {
      expect([...rankings.values()].map(({ size }) => size)).toEqual([7, 7, 7, 7]);
      for (const [query, ranking] of rankings) expect([...ranking.keys()]).not.toContain(query);
    }
    const { stdout } = await cli(['evaluate', '--data', 'own', '--systems', 'bm25', '--quiet'], { cwd });
    expect(stdout).toContain(
      '\nqueries that are documents: 4 of 4, each left out of its own ranking (excludeSelf auto)\n',
    );
  });

  test('are in it with --exclude-self never', async () => {
    const { ownDocuments, runs } = await run('--exclude-self', 'never');
    expect(ownDocuments).toEqual({ excludeSelf: 'never', queries: 0, judged: 0 });
    for (const rankings of runs) {
      expect([...rankings.values()].map(({ size }) => size)).toEqual([8, 8, 8, 8]);
    }
    const [bm25] = runs;
    for (const [query, ranking] of bm25!) expect([...ranking.keys()][0]).toBe(query);
    const refused = await cli(['evaluate', '--data', 'own', '--exclude-self', 'yes'], { cwd });
    expect(refused).toMatchObject({ status: 2 });
    expect(refused.stderr).toContain('--exclude-self');
  });
});

describe('BM25 alone', () => {
  test('needs no model, and is the same with one', async () => {
    const argv = ['evaluate', '--data', 'data', '--systems', 'bm25'];
    const alone = await cliJson<Result>(argv, cwd);
    expect(alone.model).toBeNull();
    expect(alone.systems).toEqual((await evaluate('--systems', 'bm25')).systems);
    const { stdout } = await cli([...argv, '--quiet'], { cwd });
    expect(stdout).toMatch(/^BM25 on data, split test, 24 documents\n/);
    expect(stdout).toContain('\nterms of BM25: words without English stop words and endings\n');
    const { status, stderr } = await cli(['evaluate', '--data', 'data'], { cwd });
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr:
        'error: settings: model: expected the folder of a model (--model), or a config of a run, found nothing. ' +
        'With evaluate.systems bm25 (--systems bm25) none is needed.\n',
    });
  });

  // Six queries, each a part of its document; without bigrams the score was 0.
  test('finds Chinese, and says by what it was cut', async () => {
    const pairs = [
      ['今天天气很好我们去公园散步', '公园散步'],
      ['这家餐厅的牛肉面非常好吃', '牛肉面'],
      ['人工智能正在改变医疗行业', '人工智能'],
      ['明天可能会下雨请带雨伞', '下雨'],
    ];
    await writeCollection(join(cwd, 'chinese'), {
      corpus: pairs.map(([text], i) => ({ _id: `d${i}`, text: text! })),
      queries: pairs.map(([, text], i) => ({ _id: `q${i}`, text: text! })),
      qrels: { test: pairs.map((_, i): [string, string, number] => [`q${i}`, `d${i}`, 1]) },
    });
    const argv = ['evaluate', '--data', 'chinese', '--systems', 'bm25'];
    const { systems, analysis } = await cliJson<Result>(argv, cwd);
    expect(systems[0]?.scores['ndcg@10']?.mean).toBe(1);
    expect(analysis).toEqual({ kind: 'text', bigrams: true, dictionary: [] });
    const { analysis: code } = await cliJson<Result>([...argv, '--analyzer', 'code'], cwd);
    expect(code?.kind).toBe('code');
  });

  test('a collection with nothing in it is refused', async () => {
    await writeCollection(join(cwd, 'blank'), {
      corpus: [1, 2, 3].map((i) => ({ _id: `d${i}`, title: '', text: ' ' })),
      queries: [{ _id: 'q1', text: 'x' }],
      qrels: { test: [['q1', 'd1', 1]], train: [['q1', 'd1', 1]] },
    });
    const message =
      'error: blank/corpus.jsonl: expected at least one document with a text, found 3 whose title and text are empty.\n';
    for (const argv of [
      ['evaluate', '--systems', 'bm25'],
      ['evaluate', '--model', 'model'],
      ['index', '--model', 'model', '--out', 'blank-index'],
      ['train', '--out', 'blank-run'],
      ['sft', '--base', 'model', '--out', 'blank-run'],
      ['rl', '--model', 'model', '--out', 'blank-run'],
      ...['random', 'lexical', 'latent'].map((start) => [
        ...['pretrain', '--out', 'blank-run', '--set', `pretrain.start=${start}`],
      ]),
    ]) {
      const { status, stderr } = await cli([...argv, '--data', 'blank', '--quiet'], { cwd });
      expect({ argv, status, stderr }).toEqual({ argv, status: 2, stderr: message });
    }
    expect(await cli(['inspect', 'blank'], { cwd })).toMatchObject({ status: 2, stderr: message });
    expect(await readdir(cwd)).not.toContain('blank-run');
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
  expect(refused.stderr).toMatch(
    /^estimated: .*\nerror: untuned: qrels: expected a split dev or train to tune hybrid on, found none\.\n$/,
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
