import { mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { Embedder } from 'search-r3/embed';
import { Model } from 'search-r3/model';
import { RunFolder } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cli, cliJson, tinyCollection, tinyPolicy, writeCollection, writeModel } from './tiny.js';

interface Row {
  id?: string;
  vector: number[];
  tokens: number;
  truncated: boolean;
  reasoning?: string;
  completed?: boolean;
}

interface Found {
  query: string;
  reasoning: string | null;
  completed: boolean | null;
  truncated: boolean;
  results: { rank: number; id: string; score: number; title?: string; text: string }[];
}

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-search-'));
  await writeCollection(join(cwd, 'data'));
  await writeModel(join(cwd, 'model'));
});
afterAll(() => rm(cwd, { recursive: true }));

const QUERY = 'which trade is there in elmo';
const LONG = Array<string>(80).fill('bread').join(' ');

describe('a model that remembers its lengths', () => {
  const limits = { maxLength: 24, maxNewTokens: 3 };
  beforeAll(async () => {
    await saveCheckpoint(join(cwd, 'remembers'), { ...tinyPolicy(), limits, matryoshka: [8, 4] });
  });

  test('embeds, indexes and searches within them, unless told otherwise', async () => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const embed = (...argv: string[]) =>
      cliJson<Row[]>(['embed', '--model', 'remembers', '--reasoning', LONG, ...argv], cwd);
    for (const [argv, lengths] of [
      [[], limits],
      [['--max-length', '40', '--max-new-tokens', '5'], { maxLength: 40, maxNewTokens: 5 }],
    ] as const) {
      const [row] = await embed(...argv);
      const [expected] = await embedder.embed([LONG], { reasoning: true, ...lengths });
      expect(Float32Array.from(row?.vector ?? [])).toEqual(expected?.vector);
      expect(row?.tokens).toBe(expected?.tokens);
    }
    const index = (out: string, ...argv: string[]) =>
      cliJson<object>(['index', '-m', 'remembers', '-d', 'data', '-o', out, ...argv], cwd);
    expect(await index('short')).toMatchObject({ maxLength: 24, maxPositions: 64 });
    expect(await index('full', '--max-length', '999')).toMatchObject({ maxLength: 64, truncated: 0 });
    const [found] = await cliJson<Found[]>(['search', '-m', 'remembers', '-i', 'short', QUERY], cwd);
    const [query] = await embedder.embed([QUERY], { reasoning: true, ...limits });
    expect(found?.reasoning).toBe(query?.reasoning);
    await embedder.model.dispose();
  });

  test('an index made without them is still its own', async () => {
    await cliJson(['index', '-m', 'model', '-d', 'data', '-o', 'unlimited'], cwd);
    await cliJson(['search', '-m', 'remembers', '-i', 'unlimited', QUERY], cwd);
  });

  test('inspect shows them, and that there are none', async () => {
    expect(await cliJson(['inspect', 'remembers'], cwd)).toMatchObject({ limits, matryoshka: [8, 4] });
    expect(await cliJson(['inspect', 'model'], cwd)).toMatchObject({ limits: null, matryoshka: null });
    const { stdout } = await cli(['inspect', 'remembers'], { cwd });
    expect(stdout).toMatch(/\nlongest prompt trained with +24\nlongest reasoning trained with +3\n/);
    expect(stdout).toMatch(/\nshorter vectors trained with +8, 4\n/);
    expect((await cli(['inspect', 'model'], { cwd })).stdout).toMatch(/longest prompt .* not recorded\n/);
  });
});

describe('the config of a run', () => {
  const refused = async (argv: string[], error: RegExp) => {
    const { status, stdout, stderr } = await cli(argv, { cwd });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr.replace(/^error: (.*)\n$/, '$1')).toMatch(error);
  };
  const short = { maxLength: 40, maxNewTokens: 3 };
  beforeAll(async () => {
    await writeModel(join(cwd, 'run/model'));
    const config = `
      data: data
      out: run
      rl: { steps: 7 }
      embed: { maxLength: ${short.maxLength}, maxNewTokens: ${short.maxNewTokens} }
      index: { ann: true }
      search: { k: 5, reasoning: false }
    `;
    await writeFile(join(cwd, 'my.yaml'), config.replaceAll(/^ +/gm, ''));
  });

  test('tells model, index and how texts are embedded; flags say otherwise', async () => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const [row] = await cliJson<Row[]>(['embed', '--config', 'my.yaml', '--reasoning', LONG], cwd);
    const [expected] = await embedder.embed([LONG], { reasoning: true, ...short });
    expect(Float32Array.from(row?.vector ?? [])).toEqual(expected?.vector);
    await refused(
      ['search', '--config', 'my.yaml', QUERY],
      /^run\/index: expected an index folder, found nothing there\. Create one with search-r3 index\.$/,
    );
    const made = await cliJson(['index', '--config', 'my.yaml'], cwd);
    expect(made).toMatchObject({ index: 'run/index', documents: 24, maxLength: short.maxLength });
    expect(await readdir(join(cwd, 'run/index'))).toContain('manifest.json');
    expect(await cliJson(['inspect', 'run/index'], cwd)).toMatchObject({ graph: expect.anything() });
    const search = (...argv: string[]) =>
      cliJson<Found[]>(['search', '--config', 'my.yaml', QUERY, ...argv], cwd);
    const [direct] = await search();
    expect(direct?.results).toHaveLength(5);
    expect(direct?.reasoning).toBeNull();
    const [reasoned] = await search('--reasoning', '-k', '2');
    const [query] = await embedder.embed([QUERY], { reasoning: true, ...short });
    expect(reasoned?.results).toHaveLength(2);
    expect(reasoned?.reasoning).toBe(query?.reasoning);
    await embedder.model.dispose();
    await refused(
      ['index', '--config', 'my.yaml'],
      /^run\/index: expected a new or empty folder, found an index\..*--overwrite/,
    );
    await refused(
      ['search', '--config', 'my.yaml', '-m', 'model', QUERY],
      /^settings: index\.folder: expected /,
    );
  });

  test.each([
    ['a config of stage 2', 'rl.yaml', 'data: data\nmodel: nowhere\nout: run\n'],
    ['the config in the folder of a run', 'run/config.yaml', undefined],
  ])('%s: the model is the one that the run made, not the one it started from', async (_, config, text) => {
    if (text !== undefined) await writeFile(join(cwd, config), text);
    else {
      const run = await RunFolder.create(join(cwd, 'own'), {
        model: 'nowhere',
        fingerprints: { model: 'x' },
      });
      await run.close();
      await rename(join(cwd, 'own/config.yaml'), join(cwd, config));
    }
    const [row] = await cliJson<Row[]>(['embed', '--config', config, QUERY], cwd);
    const [expected] = await cliJson<Row[]>(['embed', '--model', 'model', QUERY], cwd);
    expect(row).toEqual(expected);
    await refused(
      ['embed', '--config', config, '--set', 'model=elsewhere', QUERY],
      /^elsewhere\/config\.json: /,
    );
  });

  test.each([
    [['embed'], 'model', 'the folder of a model \\(--model\\)'],
    [['embed', 'soup'], 'model', 'the folder of a model \\(--model\\)'],
    [['search', 'soup'], 'index.folder', 'the folder of the index \\(--index\\)'],
    [['search', '-i', 'run/index', 'soup'], 'model', 'the folder of a model \\(--model\\)'],
    [['index', '-d', 'data'], 'index.folder', 'the folder of the index \\(--out\\)'],
    [['index', '-m', 'model'], 'data', 'a BEIR folder, or atlas \\(--data\\)'],
  ])('%j: what nothing tells is asked for', async (argv, field, wanted) => {
    await refused(argv, new RegExp(`^settings: ${field}: expected ${wanted}.*, found nothing\\.$`));
  });
});

describe('words without quotes', () => {
  const noted = async (...argv: string[]) => {
    const { status, stdout, stderr } = await cli([...argv, '--json'], { cwd });
    return { status, count: (JSON.parse(stdout) as unknown[]).length, note: stderr.split('\n')[0] };
  };

  test('are texts of their own, and said to be so, with the command that was perhaps meant', async () => {
    await cliJson(['index', '-m', 'model', '-d', 'data', '-o', 'words'], cwd);
    const note = 'Reading 2 texts of one word each. If you meant one text, quote it: "music bread"';
    const search = ['search', '-m', 'model', '-i', 'words', '--no-reasoning'];
    expect(await noted(...search, 'music', 'bread')).toEqual({ status: 0, count: 2, note });
    expect(await noted('embed', '-m', 'model', 'music', 'bread')).toEqual({ status: 0, count: 2, note });
    for (const queries of [['music bread'], ['music', 'bread of arlen']]) {
      expect((await noted(...search, ...queries)).note).not.toContain('quotes');
    }
  });
});

describe('index and search', () => {
  const INDEX = ['index', '--model', 'model', '--data', 'data'];
  const index = (...argv: string[]) => cli([...INDEX, ...argv], { cwd });
  const search = (...argv: string[]) =>
    cliJson<Found[]>(['search', '--model', 'model', '--index', 'index', ...argv], cwd);

  beforeAll(async () => {
    const { status, stdout, stderr } = await cli([...INDEX, '--out', 'index'], { cwd, spawned: true });
    expect({ status, stdout }).toEqual({
      status: 0,
      stdout: 'index: 24 documents, dimension 32, 0 cut to fit\n',
    });
    expect(stderr).toContain('documents 24/24 (100%)');
  });

  test.each([
    ['--reasoning', true],
    ['--no-reasoning', false],
  ] as const)('%s: the ranking by cosine with the vectors of embed', async (flag, reasoning) => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const { corpus } = tinyCollection();
    const texts = corpus.map(({ title = '', text }) => `${title} ${text}`.trim());
    const documents = await embedder.embed(texts, { role: 'document' });
    const [query] = await embedder.embed([QUERY], { reasoning });
    const expected = documents
      .map(({ vector }, i) => ({
        id: corpus[i]?._id,
        score: vector.reduce((sum, x, j) => sum + x * (query?.vector[j] as number), 0),
      }))
      .sort((a, b) => b.score - a.score)
      .slice(0, 7);
    const [found] = await search(QUERY, flag, '-k', '7');
    expect(found?.results.map(({ id }) => id)).toEqual(expected.map(({ id }) => id));
    for (const [i, { score, rank }] of (found?.results ?? []).entries()) {
      expect(score).toBeCloseTo(expected[i]?.score as number, 5);
      expect(rank).toBe(i + 1);
    }
    expect(found?.reasoning).toBe(query?.reasoning ?? null);
    expect(found?.completed).toBe(query?.completed ?? null);
    const first = corpus.find(({ _id }) => _id === expected[0]?.id);
    expect(found?.results[0]).toMatchObject({ title: first?.title, text: first?.text });
    await embedder.model.dispose();
  });

  test('queries of a file or of stdin, with their ids', async () => {
    const queries = '{"_id": "q1", "text": "music of hask"}\n\n{"text": "soup"}\n';
    await writeFile(join(cwd, 'queries.jsonl'), queries);
    const expected = await search('music of hask', 'soup');
    const [first, second] = expected;
    expect(await search('--file', 'queries.jsonl')).toEqual([{ id: 'q1', ...first }, second]);
    const argv = ['search', '-m', 'model', '-i', 'index'];
    const rows = await cli([...argv, '-f', '-', '--json'], { cwd, stdin: queries });
    expect(JSON.parse(rows.stdout)).toEqual([{ id: 'q1', ...first }, second]);
    expect(rows.stderr).toContain('queries 2/2 (100%)');
    const lines = await cli([...argv, '--json'], { cwd, stdin: 'music of hask\n\nsoup\n' });
    expect(JSON.parse(lines.stdout)).toEqual(expected);
    const shown = await cli([...argv, '-f', 'queries.jsonl'], { cwd });
    expect(shown.stdout).toMatch(/^query q1: music of hask\nreasoning: [\s\S]*\n\nquery: soup\n/);
    for (const [wrong, error] of [
      [['soup', '-f', 'queries.jsonl'], '--file: expected texts or a file, found both.'],
      [[], 'stdin: expected at least one text, found none.'],
    ] as const) {
      const { status, stdout, stderr } = await cli([...argv, ...wrong], { cwd });
      expect({ status, stdout, stderr }).toEqual({ status: 2, stdout: '', stderr: `error: ${error}\n` });
    }
  });

  test('for people: the reasoning that was embedded, scores, titles and snippets', async () => {
    const [found] = await search(QUERY, '-k', '2');
    const argv = ['search', '-m', 'model', '-i', 'index', QUERY, 'music', '-k', '2'];
    const { stdout } = await cli(argv, { cwd, spawned: true });
    const blocks = stdout.split('\n\n');
    expect(blocks).toHaveLength(2);
    expect(blocks[0]).toContain(`query: ${QUERY}\nreasoning: ${found?.reasoning?.trim()}`);
    const { id, score, title, text } = found?.results[0] ?? { score: 0 };
    expect(blocks[0]).toContain(`\n1. ${score.toFixed(4)}  ${id}  ${title}\n   ${text}\n2. `);
  });

  test('inspect tells what it holds', async () => {
    const found = await cliJson<Record<string, unknown>>(['inspect', 'index'], cwd);
    const manifest = JSON.parse(await readFile(join(cwd, 'index/manifest.json'), 'utf8'));
    expect(found).toMatchObject({
      kind: 'index',
      path: 'index',
      documents: tinyCollection().corpus.length,
      dimension: tinyPolicy().config.hiddenSize,
      graph: null,
      fingerprint: manifest.fingerprint,
    });
    const { stdout } = await cli(['inspect', 'index'], { cwd });
    expect(stdout).toMatch(/search\s+exact/);
  });

  test('--ann: a proximity graph that finds the same, and inspect says so', async () => {
    expect((await index('--out', 'graph', '--ann')).status).toBe(0);
    const { graph } = await cliJson<Record<string, unknown>>(['inspect', 'graph'], cwd);
    expect(graph).toEqual(JSON.parse(await readFile(join(cwd, 'graph/manifest.json'), 'utf8')).graph);
    const { stdout } = await cli(['inspect', 'graph'], { cwd });
    expect(stdout).toMatch(/search\s+approximate/);
    // A graph of 24 vectors is searched whole.
    const [exact] = await search(QUERY, '-k', '7');
    const argv = ['search', '--model', 'model', '--index', 'graph', QUERY, '-k', '7'];
    const [found] = await cliJson<Found[]>(argv, cwd);
    expect(found?.results.map(({ id }) => id)).toEqual(exact?.results.map(({ id }) => id));
  });

  test('another model or other prompts are refused', async () => {
    await writeModel(join(cwd, 'other'), 1);
    const policy = tinyPolicy();
    const prompts = { ...policy.prompts, document: { system: 'think', assistant: 'embedding' } };
    await saveCheckpoint(join(cwd, 'prompted'), { ...policy, prompts });
    for (const [model, field] of [
      ['other', 'weights'],
      ['prompted', 'documentPrompt'],
    ] as const) {
      const { status, stdout, stderr } = await cli(['search', '-m', model, '-i', 'index', QUERY], { cwd });
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
      expect(stderr).toMatch(
        new RegExp(
          `^error: index: fingerprint\\.${field}: expected [0-9a-f]{16}, as in the model .*, found .*\\n$`,
        ),
      );
    }
  });

  test('other prompts of queries are worth a note', async () => {
    const policy = tinyPolicy();
    const prompts = { ...policy.prompts, reasoning: { system: 'represent' } };
    await saveCheckpoint(join(cwd, 'asking'), { ...policy, prompts });
    // The same weights, in a file with the same bytes.
    const { status, stderr } = await cli(['search', '-m', 'asking', '-i', 'index', QUERY], { cwd });
    expect(status).toBe(0);
    expect(stderr).toMatch(/^index: made with another queryPrompt /m);
  });

  test('what stands in the way is told before the work; only an index is ever replaced', async () => {
    const occupied = await index('--out', 'index');
    expect(occupied).toMatchObject({ status: 2, stdout: '' });
    expect(occupied.stderr).toMatch(/^error: index: expected a new or empty folder, found /);
    expect(occupied.stderr).toContain('--overwrite');
    for (const overwrite of [['--overwrite'], []]) {
      const foreign = await index('--out', 'data', ...overwrite);
      expect(foreign).toEqual({
        status: 2,
        stdout: '',
        stderr:
          'error: data: expected a new or empty folder, found a folder that is not empty, and not an index. ' +
          'Only an index is ever replaced: choose another folder.\n',
      });
    }
    const searched = await cli(['search', '-m', 'model', '-i', 'data', QUERY], { cwd });
    expect(searched).toEqual({
      status: 2,
      stdout: '',
      stderr:
        'error: data: expected an index folder, found a folder without an index. Create one with search-r3 index.\n',
    });
    expect((await readdir(join(cwd, 'data'))).sort()).toEqual(['corpus.jsonl', 'qrels', 'queries.jsonl']);
    const before = await readFile(join(cwd, 'index/data-1/documents.jsonl'), 'utf8');
    const replaced = await index('--out', 'index', '--overwrite', '--max-length', '24');
    const [, cut] = /^index: 24 documents, dimension 32, (\d+) cut to fit\n$/.exec(replaced.stdout) ?? [];
    expect(Number(cut)).toBeGreaterThan(3);
    expect(replaced.stderr).toContain(
      `\nwarning: ${cut} of 24 documents were cut to 24 tokens; raise --max-length (at most 64 for this model)\n`,
    );
    expect(await readFile(join(cwd, 'index/data-1/documents.jsonl'), 'utf8')).toBe(before);
  });

  test('a document or two that are cut are no warning; all that the model can take is told', async () => {
    const { corpus } = tinyCollection();
    await writeCollection(join(cwd, 'one-long'), { corpus: [...corpus, { _id: 'long', text: LONG }] });
    const made = await cli(['index', '-m', 'model', '-d', 'one-long', '-o', 'one-long-index'], { cwd });
    expect(made.stdout).toContain('25 documents, dimension 32, 1 cut to fit');
    expect(made.stderr).not.toContain('warning');
    const qrels = { test: [['q0', 'long', 1]] as [string, string, number][] };
    await writeCollection(join(cwd, 'all-long'), { corpus: [{ _id: 'long', text: LONG }], qrels });
    const all = await cli(['index', '-m', 'model', '-d', 'all-long', '-o', 'long-index', '-q'], { cwd });
    expect(all.stderr).toBe(
      'warning: 1 of 1 documents were cut to 64 tokens; that is the most this model can take\n',
    );
  });

  test('a query that does not fit is cut and says so, or refused with --strict', async () => {
    const [cut] = await search(LONG, '--no-reasoning');
    expect(cut?.truncated).toBe(true);
    const argv = ['search', '-m', 'model', '-i', 'index', LONG, '--strict', '--no-reasoning'];
    const { status, stdout, stderr } = await cli(argv, { cwd });
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(
      /^error: query "bread .*": prompt: expected at most 64 tokens, found 8\d tokens\./,
    );
  });
});
