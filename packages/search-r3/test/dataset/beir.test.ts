import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import {
  type Collection,
  documentText,
  isBlank,
  loadBeir,
  loadBeirQrels,
  loadCorpus,
  loadQueries,
  saveBeir,
} from 'search-r3/dataset';
import { InputError } from 'search-r3/run';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'beir-'));
});
afterEach(() => rm(folder, { recursive: true }));

async function put(name: string, content: string | Uint8Array): Promise<string> {
  const path = join(folder, name);
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, content);
  return path;
}

/** Three documents, two queries, two splits of unequal length, the second one without a header. */
async function putCollection(): Promise<void> {
  const rows = [
    { _id: 'd1', title: 'Bridges', text: 'Stone and steel.', metadata: { year: 1990 } },
    { _id: 'd2', title: '', text: 'No title here.' },
    { _id: 'd3', title: 'Only a title', text: '' },
  ];
  await put('corpus.jsonl', rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  await put('queries.jsonl', '{"_id":"q1","text":"steel bridge"}\n{"_id":"q2","text":"titles"}\n');
  await put('qrels/test.tsv', 'query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\nq2\td3\t1\n');
  await put('qrels/train.tsv', 'q2\td2\t1\n');
}

/** The error a promise is rejected with, with the folder's name taken out. */
async function messageOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(InputError);
  return (error as InputError).message.replaceAll(`${folder}/`, '');
}

describe('loadBeir', () => {
  test('reads corpus, queries and every split, in order', async () => {
    await putCollection();
    expect(await loadBeir(folder)).toEqual({
      corpus: [
        { id: 'd1', title: 'Bridges', text: 'Stone and steel.', metadata: { year: 1990 } },
        { id: 'd2', text: 'No title here.' },
        { id: 'd3', title: 'Only a title', text: '' },
      ],
      queries: new Map([
        ['q1', { id: 'q1', text: 'steel bridge' }],
        ['q2', { id: 'q2', text: 'titles' }],
      ]),
      qrels: new Map([
        [
          'test',
          new Map([
            ['q1', new Map([['d1', 2]]).set('d2', 0)],
            ['q2', new Map([['d3', 1]])],
          ]),
        ],
        ['train', new Map([['q2', new Map([['d2', 1]])]])],
      ]),
    });
  });

  test('reads only the splits asked for', async () => {
    await putCollection();
    expect([...(await loadBeir(folder, { splits: ['train'] })).qrels.keys()]).toEqual(['train']);
    expect((await loadBeir(folder, { splits: [] })).qrels.size).toBe(0);
  });

  test('a folder without judgements is a collection without splits', async () => {
    await putCollection();
    await rm(join(folder, 'qrels'), { recursive: true });
    expect((await loadBeir(folder)).qrels.size).toBe(0);
    expect(await messageOf(loadBeir(folder, { splits: ['dev'] }))).toBe(
      'qrels: dev.tsv: expected a split of the collection, found no splits at all.',
    );
  });

  test('a missing split names those there are', async () => {
    await putCollection();
    expect(await messageOf(loadBeir(folder, { splits: ['dev'] }))).toBe(
      'qrels: dev.tsv: expected a split of the collection, found only the splits test, train.',
    );
  });

  test('judgements of unknown documents and queries are errors, or kept where allowed', async () => {
    await putCollection();
    await put('qrels/test.tsv', 'query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td9\t1\n');
    expect(await messageOf(loadBeir(folder))).toMatch(
      /^qrels\/test\.tsv:3: corpus-id: expected an id that is in corpus\.jsonl, found "d9"\. .*--allow-missing/,
    );
    const kept = await loadBeir(folder, { allowMissing: true });
    expect(kept.qrels.get('test')?.get('q1')).toEqual(new Map([['d1', 2]]).set('d9', 1));
    await put('qrels/test.tsv', 'q7\td1\t2\n');
    expect(await messageOf(loadBeir(folder))).toMatch(
      /^qrels\/test\.tsv:1: query-id: expected an id that is in queries\.jsonl, found "q7"/,
    );
    expect((await loadBeir(folder, { allowMissing: true })).qrels.get('test')?.has('q7')).toBe(true);
  });

  test('missing files and unknown options are named', async () => {
    await put('queries.jsonl', '{"_id":"q1","text":"steel bridge"}\n');
    expect(await messageOf(loadBeir(folder))).toBe(
      'corpus.jsonl: expected a readable file, found nothing there.',
    );
    await put('corpus.jsonl', '{"_id":"d1","text":"a"}\n');
    await rm(join(folder, 'queries.jsonl'));
    expect(await messageOf(loadBeir(folder))).toBe(
      'queries.jsonl: expected a readable file, found nothing there.',
    );
    await put('qrels', 'q1\td1\t1\n');
    expect(await messageOf(loadBeir(folder))).toBe(
      'qrels: expected a folder of judgements, found a file where its folder should be.',
    );
    expect(await messageOf(loadBeir(folder, { split: ['test'] } as object))).toMatch(
      /^loadBeir options: split: .*unknown key "split"\. Did you mean "splits"\?/,
    );
  });
});

describe('rows', () => {
  const good = '{"_id":"d1","title":"T","text":"x"}\n';

  test.each([
    ['{"_id":"d2","text":', 'corpus.jsonl:2: expected valid JSON, found "{\\"_id\\":\\"d2\\",\\"text\\":".'],
    ['soup', 'corpus.jsonl:2: expected valid JSON, found "soup".'],
    ['["d2","x"]', 'corpus.jsonl:2: expected a JSON object, found ["d2","x"].'],
    [
      '{"id":"d2","text":"x"}',
      'corpus.jsonl:2: _id: expected a string that is not empty, found the fields "id", "text".',
    ],
    ['{"_id":7.5,"text":"x"}', 'corpus.jsonl:2: _id: expected a string that is not empty, found 7.5.'],
    [
      '{"_id":9007199254740993,"text":"x"}',
      'corpus.jsonl:2: _id: expected a string that is not empty, found ',
    ],
    ['{"_id":null,"text":"x"}', 'corpus.jsonl:2: _id: expected a string that is not empty, found null.'],
    [
      '{"_id":"d\\ud800","text":"x"}',
      'corpus.jsonl:2: _id: expected Unicode text, because a file cannot hold',
    ],
    ['{"_id":"","text":"x"}', 'corpus.jsonl:2: _id: expected a string that is not empty, found "".'],
    ['{"_id":"d2"}', 'corpus.jsonl:2: text: expected a string, found nothing.'],
    ['{"_id":"d2","text":["x"]}', 'corpus.jsonl:2: text: expected a string, found ["x"].'],
    ['{"_id":"d2","title":3,"text":"x"}', 'corpus.jsonl:2: title: expected a string, found 3.'],
    [
      '{"_id":"d1","text":"x"}',
      'corpus.jsonl:2: _id: expected an id used once, found "d1" again, first at corpus.jsonl:1.',
    ],
  ])('corpus row %s', async (row, message) => {
    const path = await put('corpus.jsonl', `${good}${row}\n`);
    expect((await messageOf(loadCorpus(path))).startsWith(message)).toBe(true);
  });

  test('blank lines count in line numbers and are passed over; an empty corpus is refused', async () => {
    const path = await put('corpus.jsonl', `\n${good}\n  \n{"_id":"d2"}\n`);
    expect(await messageOf(loadCorpus(path))).toMatch(/^corpus\.jsonl:5: text/);
    await put('corpus.jsonl', '\n\n');
    expect(await messageOf(loadCorpus(path))).toBe(
      'corpus.jsonl: expected at least one document, found none.',
    );
  });

  test('further fields are metadata, and kept', async () => {
    const row = { _id: 'd1', text: 'a', title: null, url: 'x.org', rank: 3, metadata: {}, id: 7 };
    const path = await put('corpus.jsonl', `\n${JSON.stringify(row)}\n`);
    const document = { id: 'd1', text: 'a', url: 'x.org', rank: 3, metadata: {} };
    const seen: unknown[] = [];
    const check = (...given: unknown[]) => seen.push(given);
    expect(await loadCorpus(path, { check })).toEqual([document]);
    expect(seen).toEqual([[document, `${path}:2`]]);
  });

  test('a query needs a text and an id of its own', async () => {
    const path = await put('queries.jsonl', '{"_id":"q1","text":"a"}\n{"_id":"q2","text":""}');
    expect(await messageOf(loadQueries(path))).toBe(
      'queries.jsonl:2: text: expected a string that is not empty, found "". Leave out the query and its judgements.',
    );
    await put('queries.jsonl', '{"_id":"q1","text":"a"}\n{"_id":"q2","text":" \\n\\u3000"}');
    expect(await messageOf(loadQueries(path))).toMatch(
      /^queries\.jsonl:2: text: expected a string that is not/,
    );
    await put('queries.jsonl', '{"_id":"q1","text":"a"}\n{"_id":"q1","text":"b"}');
    expect(await messageOf(loadQueries(path))).toMatch(/^queries\.jsonl:2: _id: expected an id used once/);
  });

  test.each([
    ['q1\td2', 'three fields separated by tabs: query-id, corpus-id, score, found "q1\\td2"'],
    ['q1 0 d2 1', 'three fields separated by tabs: query-id, corpus-id, score, found "q1 0 d2 1"'],
    ['q1\td2\t1\tx', 'three fields separated by tabs: query-id, corpus-id, score, found "q1\\td2\\t1\\tx"'],
    ['\td2\t1', 'three fields separated by tabs: query-id, corpus-id, score, found "\\td2\\t1"'],
    ['q1\td2\t1.5', 'an integer, found "1.5"'],
    ['q1\td2\t', 'an integer, found ""'],
    ['query-id\tcorpus-id\tscore', 'an integer, found "score"'],
    [
      'q1\td1\t0',
      'one judgement per query and document, found a second one for query "q1" and document "d1"',
    ],
  ])('judgement %j', async (row, message) => {
    const path = await put('test.tsv', `q1\td1\t1\n${row}\n`);
    expect(await messageOf(loadBeirQrels(path))).toMatch(/^test\.tsv:2: /);
    expect(await messageOf(loadBeirQrels(path))).toContain(`expected ${message}`);
  });

  const read = async (lines: string) => {
    const qrels = await loadBeirQrels(await put('test.tsv', lines));
    return [...qrels].flatMap(([query, grades]) =>
      [...grades].map(([id, grade]) => `${query} ${id} ${grade}`),
    );
  };

  // BEIR skips the first line whatever it says (beir/datasets/data_loader.py, `next(reader)`).
  test.each([
    ['other names', 'query_id\tcorpus_id\tscore\nq1\td1\t1\n'],
    ['other columns', 'qid\tdocid\nq1\td1\t1\n'],
    ['one word', 'judgements\r\nq1\td1\t1\r\n'],
    ['names in quotes', '"query-id"\t"corpus-id"\t"score"\n"q1"\t"d1"\t"1"\n'],
    ['names and blank lines', '\n\nquery id\tdocument id\trelevance\n\nq1\td1\t1\n\n'],
    ['names in spaces', 'query-id corpus-id score\nq1 d1 1\n'],
    ['four names', 'query-id\titeration\tcorpus-id\tscore\nq1\t0\td1\t1\n'],
    ['a byte order mark', '\ufeffqid\tpid\trel\nq1\td1\t1'],
    ['a fourth column', 'query-id\tcorpus-id\tscore\tby\nq1\td1\t1\tann\n'],
    ['a fourth column that is empty', 'query-id\tcorpus-id\tscore\tby\nq1\td1\t1\t\n'],
    ['line ends of old Macs', 'qid\tpid\trel\rq1\td1\t1\r'],
    ['none', 'q1\td1\t1\n'],
    ['none, four columns', 'q1\t0\td1\t1\n'],
    ['none, four columns separated by spaces', 'q1 Q0  d1 1 \n'],
    ['none, a tab at the end', 'q1\td1\t1\t\n'],
    ['none, a grade with a point', 'q1\td1\t1.0\n'],
    ['none, a grade with a sign', 'q1\td1\t+1 \n'],
  ])('a header of judgements: %s', async (_, lines) => {
    expect(await read(lines)).toEqual(['q1 d1 1']);
  });

  test('a fourth column of numbers is none of trec_eval where the second holds documents', async () => {
    await putCollection();
    await put('qrels/test.tsv', 'query-id\tcorpus-id\tscore\tconfidence\nq1\td1\t2\t7\nq2\td3\t1\t0.5\n');
    for (const allowMissing of [false, true]) {
      const { qrels } = await loadBeir(folder, { splits: ['test'], allowMissing });
      expect(qrels.get('test')).toEqual(
        new Map([['q1', new Map([['d1', 2]])]]).set('q2', new Map([['d3', 1]])),
      );
    }
  });

  test('a second header is refused by its grade, whatever may be missing', async () => {
    await putCollection();
    await put('qrels/test.tsv', 'a\tb\tc\nquery-id\tcorpus-id\tscore\nq1\td1\t1\n');
    for (const allowMissing of [false, true]) {
      expect(await messageOf(loadBeir(folder, { allowMissing }))).toBe(
        'qrels/test.tsv:2: score: expected an integer, found "score".',
      );
    }
  });

  test.each<[string, string]>([
    [
      '<!DOCTYPE html>\n<p>a\tb\t1</p>',
      'test.tsv:1: expected judgements, found an HTML page. A download saved',
    ],
    ['\u001f\u008b', 'test.tsv: expected the file itself, found a gzip file. Unpack it first.'],
    ['\u00ff\u00feq\0', 'test.tsv: expected the file itself, found text in UTF-16. Save it as UTF-8.'],
  ])('what is no file of judgements: %j', async (bytes, message) => {
    const path = await put('test.tsv', Buffer.from(bytes, 'latin1'));
    expect(await messageOf(loadBeirQrels(path))).toContain(message);
  });

  test('grades below 0 and ids with spaces and quotes', async () => {
    expect(await read('q 1\td"1"\t-2\n"q ""2"""\td\t0\n')).toEqual(['q 1 d"1" -2', 'q "2" d 0']);
  });

  test('a first line that is a judgement of others is not taken for a header', async () => {
    await putCollection();
    for (const [line, message] of [
      ['q9\td1\t1', 'query-id: expected an id that is in queries.jsonl, found "q9"'],
      ['q1 0 d9 1', 'corpus-id: expected an id that is in corpus.jsonl, found "d9"'],
      ['q1\td1\tyes', 'score: expected an integer, found "yes"'],
      ['q1\td1\t1.5', 'score: expected an integer, found "1.5"'],
      ['q1\td1', 'expected three fields separated by tabs: query-id, corpus-id, score, found "q1\\td1"'],
    ] as const) {
      await put('qrels/test.tsv', `${line}\nq1\td2\t1\n`);
      expect(await messageOf(loadBeir(folder))).toContain(`qrels/test.tsv:1: ${message}`);
    }
  });

  test('columns stay what they were in the first judgement', async () => {
    await put('test.tsv', 'qid 0 did rel\nq1 0 d1 1\nq1 d2 1\n');
    expect(await messageOf(loadBeirQrels(join(folder, 'test.tsv')))).toBe(
      'test.tsv:3: expected four fields: query id, iteration, document id, grade, found "q1 d2 1".',
    );
  });

  test('ids that are whole numbers are their digits', async () => {
    await put('corpus.jsonl', '\ufeff{"_id":7,"text":"x"}\r\n{"_id":"8","text":"y"}\r\n');
    await put('queries.jsonl', '{"_id":7,"text":"x"}\n');
    await put('qrels/test.tsv', '7\t7\t1\n7\t8\t0\n');
    const { corpus, queries, qrels } = await loadBeir(folder);
    expect(corpus.map(({ id }) => id)).toEqual(['7', '8']);
    expect([...queries.keys()]).toEqual(['7']);
    expect(qrels.get('test')).toEqual(new Map([['7', new Map([['7', 1]]).set('8', 0)]]));
    const path = await put('corpus.jsonl', '{"_id":7,"text":"x"}\n{"_id":"7","text":"y"}\n');
    expect(await messageOf(loadCorpus(path))).toMatch(
      /^corpus\.jsonl:2: _id: expected an id used once, found "7"/,
    );
  });

  test.each([
    [
      '[\n{"_id":"d1","text":"a"}\n]',
      'a JSON object, found "[". The file must have one JSON object per line.',
    ],
    [
      '[{"_id":"d1","text":"a"}]',
      'found [{"_id":"d1","text":"a"}]. The file must have one JSON object per line.',
    ],
    [
      '{"id":"d1","contents":"a"}',
      '_id: expected a string that is not empty, found the fields "id", "contents".',
    ],
  ])('rows of another form: %j', async (text, message) => {
    expect(await messageOf(loadCorpus(await put('corpus.jsonl', text)))).toContain(message);
  });

  test("Python's constants are null, line ends of old Macs end lines", async () => {
    const rows =
      '{"_id":"d1","title":NaN,"text":"not NaN","a":[-Infinity,Infinity]}\r{"_id":"d2","text":"b"}\r';
    expect(await loadCorpus(await put('corpus.jsonl', rows))).toEqual([
      { id: 'd1', text: 'not NaN', a: [null, null] },
      { id: 'd2', text: 'b' },
    ]);
  });

  test.each([
    ['inner/corpus.jsonl', 'Is it inner?'],
    ['corpus.jsonl.gz', 'corpus.jsonl.gz is there, but only corpus.jsonl is read.'],
    ['corpus.tsv', 'corpus.tsv is there, but only corpus.jsonl is read.'],
  ])('a corpus that is elsewhere: %s', async (name, remedy) => {
    await put(name, '');
    expect(await messageOf(loadBeir(folder))).toBe(
      `corpus.jsonl: expected a readable file, found nothing there. ${remedy}`,
    );
  });

  test('a collection with nothing in it is refused', async () => {
    await putCollection();
    await put('queries.jsonl', '\n');
    expect(await messageOf(loadBeir(folder))).toBe('queries.jsonl: expected at least one query, found none.');
    await put(
      'corpus.jsonl',
      '{"_id":"d1","text":"\\u200b"}\n{"_id":"d2","title":" \\t","text":"\\u00a0\\n"}\n',
    );
    expect(await messageOf(loadBeir(folder))).toBe(
      'corpus.jsonl: expected at least one document with a text, found 2 whose title and text are empty.',
    );
  });

  test('a split without judgements is refused by its file', async () => {
    await putCollection();
    for (const empty of ['', '\n', 'query-id\tcorpus-id\tscore\n']) {
      await put('qrels/test.tsv', empty);
      expect(await messageOf(loadBeir(folder))).toBe(
        'qrels/test.tsv: expected at least one judgement, found none.',
      );
    }
    expect((await loadBeir(folder, { splits: ['train'] })).qrels.size).toBe(1);
  });

  test('negative grades, carriage returns, a byte order mark and no final line end', async () => {
    const path = await put('test.tsv', '\ufeffquery-id\tcorpus-id\tscore\r\nq1\td1\t-1\r\nq1\td2\t+2');
    expect(await loadBeirQrels(path)).toEqual(new Map([['q1', new Map([['d1', -1]]).set('d2', 2)]]));
  });

  test('a line separator inside a string does not end the row, a broken encoding is refused', async () => {
    const text = 'one\u2028two\u2029three\u0085four';
    const path = await put('corpus.jsonl', `${JSON.stringify({ _id: 'd1', text })}\n`);
    expect(await loadCorpus(path)).toEqual([{ id: 'd1', text }]);
    await put('corpus.jsonl', Buffer.concat([Buffer.from(good), Buffer.from([0x7b, 0xff, 0xfe])]));
    expect(await messageOf(loadCorpus(path))).toMatch(/^corpus\.jsonl: expected UTF-8 text/);
  });

  test('rows and characters that straddle the reader\u2019s chunks stay whole', async () => {
    // Rows of unequal length, three bytes a character, over three chunks of 1 MiB.
    const texts = Array.from({ length: 700 }, (_, i) => '\u20ac'.repeat(((i * 7919) % 3000) + 1));
    const rows = texts.map((text, i) => JSON.stringify({ _id: `d${i}`, text }));
    const path = await put('corpus.jsonl', rows.join('\n'));
    expect(Buffer.byteLength(rows.join('\n'))).toBeGreaterThan(3 << 20);
    expect((await loadCorpus(path)).map(({ text }) => text)).toEqual(texts);
  });
});

describe('saveBeir', () => {
  const id = fc
    .string({ minLength: 1, unit: 'binary' })
    .filter((text) => !/[\t\r\n]/.test(text) && !isBlank(text));
  const text = fc.string({ unit: 'binary' });
  const collections = fc
    .record({
      corpus: fc
        .uniqueArray(fc.record({ id, title: text, text }), {
          selector: (row) => row.id,
          minLength: 1,
        })
        .filter((rows) => rows.some((row) => !isBlank(documentText(row)))),
      queries: fc.uniqueArray(fc.record({ id, text: id }), { selector: (row) => row.id, minLength: 1 }),
      splits: fc.uniqueArray(fc.constantFrom('train', 'dev', 'test'), { minLength: 1 }),
      grades: fc.array(fc.tuple(fc.nat(), fc.nat(), fc.integer({ min: -2, max: 4 })), { minLength: 1 }),
    })
    .map(({ corpus, queries, splits, grades }): Collection => {
      const qrels: Collection['qrels'] = new Map(splits.map((split) => [split, new Map()]));
      for (const [i, [query, document, grade]] of grades.entries()) {
        const judgements = qrels.get(splits[i % splits.length] as string);
        const queryId = queries[query % queries.length]?.id as string;
        const known = judgements?.get(queryId) ?? new Map<string, number>();
        judgements?.set(queryId, known.set(corpus[document % corpus.length]?.id as string, grade));
      }
      // One of more splits than there are grades is without judgements.
      for (const [split, judged] of qrels) if (judged.size === 0) qrels.delete(split);
      return {
        corpus: corpus.map(({ title, ...row }) => (title === '' ? row : { title, ...row })),
        queries: new Map(queries.map((query) => [query.id, query])),
        qrels,
      };
    });

  test('loading what was saved gives an equal collection', async () => {
    let i = 0;
    await fc.assert(
      fc.asyncProperty(collections, async (collection) => {
        const path = join(folder, String(i++));
        await saveBeir(path, collection);
        expect(await loadBeir(path)).toEqual(collection);
      }),
      { numRuns: 50 },
    );
  });

  test('writes the layout other tools read', async () => {
    await putCollection();
    const path = join(folder, 'copy');
    await saveBeir(path, await loadBeir(folder));
    expect((await readdir(path, { recursive: true })).sort()).toEqual([
      'corpus.jsonl',
      'qrels',
      'qrels/test.tsv',
      'qrels/train.tsv',
      'queries.jsonl',
    ]);
    expect((await readFile(join(path, 'corpus.jsonl'), 'utf8')).split('\n').slice(0, 2)).toEqual([
      '{"_id":"d1","title":"Bridges","text":"Stone and steel.","metadata":{"year":1990}}',
      '{"_id":"d2","title":"","text":"No title here."}',
    ]);
    expect(await loadBeir(path)).toEqual(await loadBeir(folder));
    expect(await readFile(join(path, 'qrels/train.tsv'), 'utf8')).toBe(
      'query-id\tcorpus-id\tscore\nq2\td2\t1\n',
    );
  });

  test('only a collection is ever replaced, and only where that is asked for', async () => {
    await putCollection();
    const collection = await loadBeir(folder, { splits: ['train'] });
    await put('other/notes.txt', 'mine');
    for (const overwrite of [false, true]) {
      expect(await messageOf(saveBeir(join(folder, 'other'), collection, { overwrite }))).toBe(
        'other: expected a new or empty folder, found a folder that is not empty, and not a collection. ' +
          'Only a collection is ever replaced: choose another folder.',
      );
    }
    expect(await readdir(join(folder, 'other'))).toEqual(['notes.txt']);
    const path = join(folder, 'copy');
    await saveBeir(path, collection);
    const smaller = { ...collection, qrels: new Map() };
    expect(await messageOf(saveBeir(path, smaller))).toBe(
      'copy: expected a new or empty folder, found a collection. ' + 'Set overwrite to replace it.',
    );
    expect(await loadBeir(path)).toEqual(collection);
    await saveBeir(path, smaller, { overwrite: true });
    expect(await loadBeir(path)).toEqual(smaller);
  });

  test('a query without text, which could not be loaded again, is refused and nothing is written', async () => {
    const collection: Collection = {
      corpus: [{ id: 'd1', text: 'x' }],
      queries: new Map(['y', ''].map((text, i) => [`q${i}`, { id: `q${i}`, text }])),
      qrels: new Map(),
    };
    expect(await messageOf(saveBeir(join(folder, 'copy'), collection))).toBe(
      'collection: query "q1": text: expected a string that is not empty, found "". Leave out the query and its judgements.',
    );
    expect(await readdir(folder)).toEqual([]);
  });

  test.each([
    [
      ['a', 'b', 'a'],
      ['q'],
      /^collection: document 2: _id: expected an id used once, found "a" again, first at/,
    ],
    [['a', ''], ['q'], /^collection: document 1: _id: expected a string that is not empty, found ""/],
    [['a'], ['q', 'q'], /^collection: query 1: _id: expected an id used once, found "q" again, first at/],
    [['a'], [''], /^collection: query 0: _id: expected a string that is not empty, found ""/],
  ])(
    'documents %j and queries %j could not be loaded again, and are refused',
    async (ids, queries, message) => {
      const collection: Collection = {
        corpus: ids.map((id) => ({ id, text: 'x' })),
        queries: new Map(queries.map((id, i) => [`key${i}`, { id, text: 'y' }])),
        qrels: new Map(),
      };
      expect(await messageOf(saveBeir(join(folder, 'copy'), collection))).toMatch(message);
      expect(await readdir(folder)).toEqual([]);
    },
  );

  test('ids and split names that the format cannot hold are refused and nothing is written', async () => {
    const collection: Collection = {
      corpus: [{ id: 'a\tb', text: 'x' }],
      queries: new Map([['q1', { id: 'q1', text: 'y' }]]),
      qrels: new Map([['test', new Map([['q1', new Map([['a\tb', 1]])]])]]),
    };
    const path = join(folder, 'copy');
    expect(await messageOf(saveBeir(path, collection))).toBe(
      'collection: qrels of test: expected ids without tabs or line ends, found "a\\tb".',
    );
    collection.qrels = new Map([['test', new Map([['q1', new Map()]])]]);
    expect(await messageOf(saveBeir(path, collection))).toBe(
      'collection: qrels of test: expected at least one judgement, found none.',
    );
    collection.qrels = new Map([['../test', new Map()]]);
    expect(await messageOf(saveBeir(path, collection))).toMatch(
      /^collection: split name: .*found "\.\.\/test"/,
    );
    expect(await readdir(folder)).toEqual([]);
  });
});

test('documentText joins title and text as BEIR does', () => {
  expect(documentText({ id: 'd', title: 'Bridges', text: 'Stone.' })).toBe('Bridges Stone.');
  expect(documentText({ id: 'd', text: 'Stone.' })).toBe('Stone.');
  expect(documentText({ id: 'd', title: 'Bridges', text: '' })).toBe('Bridges');
});
