/** `embed`: texts from everywhere, and more of them than are embedded at once. */
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { EMBEDDING_TOLERANCE } from 'search-r3/decoder';
import { Embedder } from 'search-r3/embed';
import { Model } from 'search-r3/model';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { cli, cliJson, tinyCollection, tinyPolicy, writeModel } from './tiny.js';

interface Row {
  id?: string;
  vector: number[];
  tokens: number;
  truncated: boolean;
}

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-embed-'));
  await writeModel(join(cwd, 'model'));
});
afterAll(() => rm(cwd, { recursive: true }));

const QUERY = 'which trade is there in elmo';
const LONG = Array<string>(80).fill('bread').join(' ');

const rowsOf = (stdout: string): Row[] =>
  stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Row);

describe('texts from everywhere', () => {
  const embed = async (argv: string[], stdin = '') => {
    const { status, stdout, stderr } = await cli(['embed', '--model', 'model', '--quiet', ...argv], {
      cwd,
      stdin,
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    return rowsOf(stdout);
  };

  test('arguments: the vectors of the embedder, one a line', async () => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const texts = [QUERY, 'music of hask'];
    for (const how of [
      { role: 'query' },
      { role: 'query', reasoning: true },
      { role: 'document' },
    ] as const) {
      const expected = await embedder.embed(texts, how);
      const rows = await embed([
        ...texts,
        '--role',
        how.role,
        ...('reasoning' in how ? ['--reasoning'] : []),
      ]);
      expect(rows).toHaveLength(2);
      for (const [i, { vector, ...rest }] of rows.entries()) {
        const { vector: exact, ...same } = expected[i] ?? { vector: new Float32Array() };
        expect(rest).toEqual(same);
        expect(Float32Array.from(vector)).toEqual(exact);
      }
    }
    await embedder.model.dispose();
  });

  test('lines of stdin and rows of a JSONL file, with ids and titles; --json gives one document', async () => {
    const plain = await embed(['--role', 'document', 'the food of arlen bread'], '');
    await writeFile(
      join(cwd, 'rows.jsonl'),
      '{"_id": 7, "id": "other", "title": "the food of arlen", "text": "bread"}\n\n{"id": "b", "text": "soup"}\n',
    );
    const rows = await embed(['--role', 'document', '--file', 'rows.jsonl']);
    expect(rows.map(({ id }) => id)).toEqual(['7', 'b']);
    // Alone in its batch, a text may have another vector by rounding.
    const distance = Math.hypot(
      ...(rows[0]?.vector ?? []).map((x, i) => x - (plain[0]?.vector[i] as number)),
    );
    expect(distance).toBeLessThanOrEqual(EMBEDDING_TOLERANCE);
    // Blank lines are no texts, as in a file.
    const lines = await embed(['--role', 'document'], 'the food of arlen bread\r\n\nsoup\n \n\n');
    expect(lines.map(({ vector }) => vector)).toEqual(rows.map(({ vector }) => vector));
    const blank = await cli(['embed', '--model', 'model', '--quiet', 'soup', ' '], { cwd });
    expect({ status: blank.status, stdout: blank.stdout }).toEqual({ status: 2, stdout: '' });
    expect(blank.stderr).toMatch(/^error: argument 2: expected a query with text, found " "/);
    const json = await cliJson<Row[]>(
      ['embed', '--model', 'model', '--role', 'document', '--file', 'rows.jsonl'],
      cwd,
    );
    expect(json).toEqual(rows);
  });

  test('--file -: JSONL from stdin, as from a file', async () => {
    const rows = '{"_id": "a", "title": "the food", "text": "bread"}\n\n{"id": "b", "text": "soup"}\n';
    await writeFile(join(cwd, 'same.jsonl'), rows);
    expect(await embed(['--file', '-'], rows)).toEqual(await embed(['--file', 'same.jsonl']));
    for (const [stdin, error] of [
      ['{"text": "soup"}\nsoup\n', /^error: stdin:2: expected /],
      ['\n\n', /^error: stdin: expected at least one text, found none\./],
    ] as const) {
      const { status, stdout, stderr } = await cli(['embed', '-m', 'model', '-f', '-'], { cwd, stdin });
      expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
      expect(stderr).toMatch(error);
    }
  });

  test('lines of JSON on stdin are texts as they stand, but not silently', async () => {
    const note =
      /^Every line of stdin is a JSON object with a text\. Each line is used as plain text; to read JSONL, use --file -\n/;
    const noted = (stdin: string) => cli(['embed', '-m', 'model'], { cwd, stdin });
    const { status, stdout, stderr } = await noted('{"id": "a", "text": "soup"}\n{"text": "bread"}\n');
    expect({ status, rows: rowsOf(stdout).map(({ id }) => id) }).toEqual({
      status: 0,
      rows: [undefined, undefined],
    });
    expect(stderr).toMatch(note);
    expect((await noted('{"text": "soup"}\nbread\n')).stderr).not.toMatch(note);
  });

  test('a text that does not fit is cut and says so, or refused by its place with --strict', async () => {
    const [whole, cut] = await embed([QUERY, LONG]);
    expect([whole?.truncated, cut?.truncated]).toEqual([false, true]);
    expect(cut?.tokens).toBeLessThanOrEqual(64);
    for (const [argv, note] of [
      [[], '1 of 2 texts were cut to 64 tokens; that is the most this model can take'],
      [
        ['--max-length', '30'],
        '1 of 2 texts were cut to 30 tokens; raise --max-length (at most 64 for this model)',
      ],
      [
        ['--reasoning', '--max-new-tokens', '9', '--max-length', '30'],
        '1 of 2 texts were cut to 30 tokens; raise --max-length (at most 54 for this model)',
      ],
    ] as const) {
      const { stderr } = await cli(['embed', '-m', 'model', 'soup', LONG, ...argv], { cwd });
      expect(stderr.trimEnd().split('\n').at(-1)).toBe(note);
    }
    expect((await cli(['embed', '-m', 'model', QUERY, 'soup'], { cwd })).stderr).not.toContain('cut');
    await writeFile(join(cwd, 'long.jsonl'), `{"text": "soup"}\n{"text": "${LONG}"}\n`);
    const { status, stdout, stderr } = await cli(
      ['embed', '--model', 'model', '--file', 'long.jsonl', '--strict', '--quiet'],
      { cwd },
    );
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(
      /^error: long\.jsonl:2: prompt: expected at most 64 tokens, found 8\d tokens\..*\n$/,
    );
  });
});

describe('more texts than are embedded at once', () => {
  /** What the embedder makes at once. */
  const PIECE = 1024;
  const COUNT = 5 * PIECE + 3;

  const { corpus } = tinyCollection();
  const TEXTS = Array.from({ length: COUNT }, (_, i) => corpus[i % corpus.length]?.text ?? '');

  const EMBED = ['embed', '-m', 'model', '--role', 'document', '-f', 'many.jsonl'];

  beforeAll(async () => {
    const rows = TEXTS.map((text, i) => `${JSON.stringify({ id: `t${i}`, text })}\n`);
    await writeFile(join(cwd, 'many.jsonl'), rows.join(''));
  });

  /** So many rows, by their ids. */
  const idsTo = (count: number) => Array.from({ length: count }, (_, i) => `t${i}`);

  test('all are those of one call of the library, counted through; --json makes one document of them', async () => {
    const embedder = new Embedder(Model.of(tinyPolicy()));
    const expected = await embedder.embed(TEXTS, { role: 'document' });
    await embedder.model.dispose();
    const { status, stdout, stderr } = await cli(EMBED, { cwd });
    expect(status).toBe(0);
    expect(stderr).toContain(`texts ${COUNT}/${COUNT} (100%)`);
    const rows = rowsOf(stdout);
    expect(rows.map(({ id }) => id)).toEqual(idsTo(COUNT));
    for (const [i, { vector }] of rows.entries()) {
      if (i % 97 === 0) expect(Float32Array.from(vector)).toEqual(expected[i]?.vector);
    }
    const json = await cli([...EMBED, '--json', '--quiet'], { cwd });
    expect(json.stdout).toBe(`[${stdout.trim().split('\n').join(',')}]\n`);
  });

  test.each([[[]], [['--json']]])('Ctrl-C %j: the rows that are finished stay', async (json) => {
    const { status, stdout, stderr } = await cli([...EMBED, ...json], {
      cwd,
      onResult: (child) => child.kill('SIGINT'),
    });
    expect(status).toBe(130);
    expect(stderr).not.toContain(`${COUNT}/${COUNT}`);
    const rows = json.length === 0 ? rowsOf(stdout) : (JSON.parse(stdout) as Row[]);
    expect(rows.length % PIECE).toBe(0);
    expect(rows.length).toBeGreaterThan(0);
    expect(rows.length).toBeLessThan(COUNT);
    expect(rows.map(({ id }) => id)).toEqual(idsTo(rows.length));
  });

  test('a reader that has seen enough ends the work', async () => {
    const { status, stderr } = await cli(EMBED, { cwd, onResult: (child) => child.stdout.destroy() });
    expect(status).toBe(0);
    expect(stderr).not.toMatch(/error|\(100%\)/);
  });

  test('a reader that is slow is waited for', async () => {
    const { status, stderr } = await cli(EMBED, {
      cwd,
      onResult: (child) => {
        child.stdout.pause();
        // Long enough to embed all that is left, which must not happen.
        setTimeout(() => child.stdout.destroy(), scaled(2500, 8000));
      },
    });
    expect(status).toBe(0);
    expect(stderr).not.toContain('(100%)');
  });
});
