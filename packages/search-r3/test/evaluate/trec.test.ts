import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { loadTrecQrels, loadTrecRun, saveTrecQrels, saveTrecRun } from 'search-r3/evaluate';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'trec-'));
  path = join(folder, 'file');
});
afterEach(() => rm(folder, { recursive: true }));

describe('run files', () => {
  test('the rank column is ignored, comments and what follows the tag too', async () => {
    await writeFile(
      path,
      '# a comment\n301\tQ0\tFR94-1\t1\t  2.5\tSTANDARD\n301 Q0 FR94-2 99 3e0 STANDARD extra words\n\n302 Q0 FR94-1 0 -1 OTHER',
    );
    expect(await loadTrecRun(path)).toEqual({
      tag: 'OTHER',
      rankings: new Map([
        ['301', new Map([['FR94-1', 2.5]]).set('FR94-2', 3)],
        ['302', new Map([['FR94-1', -1]])],
      ]),
    });
  });

  test.each([
    ['301 Q0 d2 1 2.5', 'the fields query Q0 document rank score tag, separated by white space'],
    ['301 Q0 d2 1 high STANDARD', 'a number, found "high"'],
    ['301 Q0 d2 1 nan STANDARD', 'a number, found "nan"'],
    ['301 Q0 d1 7 2.5 STANDARD', 'a document once per query, found "d1" a second time for query "301"'],
  ])('line %j', async (line, message) => {
    await writeFile(path, `301 Q0 d1 1 3.5 STANDARD\n${line}\n`);
    await expect(loadTrecRun(path)).rejects.toThrow(`${path}:2: `);
    await expect(loadTrecRun(path)).rejects.toThrow(`expected ${message}`);
  });

  test('an empty file holds no ranking', async () => {
    await writeFile(path, '# nothing\n');
    await expect(loadTrecRun(path)).rejects.toThrow('expected at least one ranking, found none');
  });

  test('is written best first with ties as trec_eval breaks them, every digit kept', async () => {
    const rankings = new Map([
      ['q2', new Map([['a', 0.1 + 0.2]]).set('c', Math.fround(0.7)).set('b', 0.1 + 0.2)],
      ['q1', new Map([['z', 1e-12]])],
    ]);
    await saveTrecRun(path, { tag: 'mine', rankings });
    expect(await readFile(path, 'utf8')).toBe(
      'q2 Q0 c 1 0.699999988079071 mine\nq2 Q0 b 2 0.30000000000000004 mine\nq2 Q0 a 3 0.30000000000000004 mine\n' +
        'q1 Q0 z 1 1e-12 mine\n',
    );
  });

  test('what was written is read back', async () => {
    const word = fc.string({ minLength: 1, maxLength: 5 }).filter((text) => /^[^\s#]\S*$/.test(text));
    const score = fc.double({ noNaN: true, noDefaultInfinity: true });
    const lists = fc.uniqueArray(fc.tuple(word, score), {
      selector: ([id]) => id,
      minLength: 1,
      maxLength: 5,
    });
    const runs = fc.uniqueArray(fc.tuple(word, lists), {
      selector: ([id]) => id,
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(word, runs, async (tag, rows) => {
        const rankings = new Map(rows.map(([query, list]) => [query, new Map(list)]));
        await saveTrecRun(path, { tag, rankings });
        const loaded = await loadTrecRun(path);
        expect(loaded.tag).toBe(tag);
        const plain = (runs: typeof rankings) => [...runs].map(([query, list]) => [query, [...list].sort()]);
        // Number(String(-0)) is 0.
        const zeros = (runs: typeof rankings) => JSON.stringify(plain(runs));
        expect(zeros(loaded.rankings)).toBe(zeros(rankings));
      }),
      { numRuns: scaled(50, 1000) },
    );
  });

  test.each([
    [{ tag: 'two words', rankings: new Map([['q', new Map([['d', 1]])]]) }, 'tag'],
    [{ tag: 't', rankings: new Map([['q 1', new Map([['d', 1]])]]) }, 'query id'],
    [{ tag: 't', rankings: new Map([['q', new Map([['d\t1', 1]])]]) }, 'document id'],
    [{ tag: 't', rankings: new Map([['#q', new Map([['d', 1]])]]) }, 'query id'],
    [{ tag: 't', rankings: new Map([['q', new Map([['d', Number.NaN]])]]) }, 'a finite score, found NaN'],
  ])('what the format cannot hold is refused and nothing is written (%#)', async (run, message) => {
    await expect(saveTrecRun(path, run)).rejects.toThrow(message);
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('qrels files', () => {
  test('are read and written', async () => {
    await writeFile(path, '# judged in 1996\n301 0 FR94-1 1\n301\t0\tFR94-2\t0\n302 0 FR94-1 -1\n');
    const qrels = await loadTrecQrels(path);
    expect(qrels).toEqual(
      new Map([
        ['301', new Map([['FR94-1', 1]]).set('FR94-2', 0)],
        ['302', new Map([['FR94-1', -1]])],
      ]),
    );
    await saveTrecQrels(path, qrels);
    expect(await readFile(path, 'utf8')).toBe('301 0 FR94-1 1\n301 0 FR94-2 0\n302 0 FR94-1 -1\n');
    expect(await loadTrecQrels(path)).toEqual(qrels);
  });

  test.each([
    ['301 0 d2', 'the fields query iteration document grade'],
    ['301 0 d2 1 x', 'the fields query iteration document grade'],
    ['301 0 d2 0.5', 'grade: expected an integer, found "0.5"'],
    ['301 0 d1 0', 'one judgement per query and document'],
  ])('line %j', async (line, message) => {
    await writeFile(path, `301 0 d1 1\n${line}\n`);
    await expect(loadTrecQrels(path)).rejects.toThrow(`${path}:2: `);
    await expect(loadTrecQrels(path)).rejects.toThrow(message);
  });

  test('no judgement, and ids with white space', async () => {
    await writeFile(path, '\n');
    await expect(loadTrecQrels(path)).rejects.toThrow('expected at least one judgement, found none');
    await expect(saveTrecQrels(path, new Map([['q', new Map([['a b', 1]])]]))).rejects.toThrow('document id');
  });
});
