/** Targets as a file: made once, edited, read again, turned into tokens; and what is refused. */
import { appendFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Model } from 'search-r3/model';
import { InterruptedError } from 'search-r3/run';
import { type SftOptions, sampleTargets, sftOptionsSchema } from 'search-r3/sft';
import { makeTargets, type TargetData, targetTokens } from 'search-r3/targets';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { DOCUMENTS, QUERIES } from '../sft/tiny-data.js';

const base = Model.of(tinyPolicy('targets', { layers: 1 }));
const DATA: TargetData = {
  base,
  document: (id) => DOCUMENTS.get(id)!,
  corpus: [...DOCUMENTS.keys()],
  analyzer: 'text',
  known: new Set([...QUERIES.map(({ id }) => id), 'other']),
};
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'make-targets-'));
});
afterAll(() => rm(folder, { recursive: true }));

const make = (reasoning: SftOptions['reasoning'], path?: string, queries = QUERIES, signal?: AbortSignal) =>
  makeTargets(queries, DATA, { ...sftOptionsSchema.parse({ reasoning }), path, signal });
const linesOf = async (path: string) => (await readFile(path, 'utf8')).trimEnd().split('\n');

test('written as text, kept when edited, and only what is missing is made', async () => {
  const path = join(folder, 'grounded.jsonl');
  const options: SftOptions['reasoning'] = { source: 'grounded', styles: ['sentence'] };
  await make(options, path, QUERIES.slice(0, 2));
  const first = (await linesOf(path)).map((line) => JSON.parse(line));
  expect(first).toEqual([
    {
      ...{ query: 'q1', text: 'where food of ada', reasoning: 'food of bern' },
      ...{ source: 'grounded', style: 'sentence', kept: true },
    },
    {
      ...{ query: 'q2', text: 'trade', reasoning: 'old trade in the river tower' },
      ...{ source: 'grounded', style: 'sentence', kept: true },
    },
  ]);
  first[0].reasoning = 'new food';
  first[1].kept = false;
  // Edited, and without the end of the last line; then killed while a line was being written.
  await writeFile(path, `${first.map((row: object) => JSON.stringify(row)).join('\n')}\n`);
  await appendFile(path, '{"query":"q3","reaso');
  const all = await make(options, path);
  expect([...all.keys()]).toEqual(['q1', 'q2', 'q3', 'q4', 'q5']);
  expect([all.get('q1')?.reasoning, all.get('q2')?.kept]).toEqual(['new food', false]);
  expect((await linesOf(path)).length).toBe(5);
  const { tokenizer } = base;
  const tokens = await targetTokens(all.values(), tokenizer, 3);
  expect([...tokens.keys()]).not.toContain('q2');
  expect(tokens.get('q1')).toEqual(await tokenizer.encode('new food'));
  expect(tokens.get('q3')?.length).toBeLessThanOrEqual(3);
});

test('at most maxNewTokens - 1 tokens, in whole words', async () => {
  const targets = await make({ source: 'grounded', styles: ['sentence'], maxNewTokens: 4 });
  const { reasoning } = targets.get('q2')!;
  expect((await base.tokenizer.encode(reasoning)).length).toBe(3);
  expect(DOCUMENTS.get('d2')).toMatch(new RegExp(`^${reasoning} `));
});

test('self: the text of what the base says', async () => {
  const reasoning = { source: 'self', maxNewTokens: 12 } as const;
  const targets = await make(reasoning);
  const sampled = await sampleTargets(base, QUERIES, sftOptionsSchema.parse({ reasoning }));
  for (const { id } of QUERIES) {
    const text = base.tokenizer.decode(sampled.get(id)!).trim();
    // The text may take more tokens than were sampled, and is cut then.
    const whole = (await base.tokenizer.encode(text)).length < reasoning.maxNewTokens;
    const found = targets.get(id)!.reasoning;
    expect(whole ? found : text.slice(0, found.length), id).toBe(whole ? text : found);
  }
});

test('file: targets of other queries are left, a query without one is not kept', async () => {
  const file = join(folder, 'mine.jsonl');
  await writeFile(file, '{"query": "other", "reasoning": "x"}\n\n{"query": "q4", "reasoning": "bern food"}');
  const targets = await make({ source: 'file', file });
  expect([...targets.keys()].toSorted()).toEqual(['q1', 'q2', 'q3', 'q4', 'q5']);
  expect(targets.get('q4')).toMatchObject({ reasoning: 'bern food', source: 'file', kept: true });
  expect(targets.get('q1')).toMatchObject({ kept: false, why: 'nothing from file' });
});

test.each([
  ['{"query": "q9", "reasoning": "x"}', /bad\.jsonl:1: query: .*found "q9"/],
  [
    '{"query": "q1", "reasoning": "x"}\n{"query": "q1", "reasoning": "y"}',
    /bad\.jsonl:2: query: .*"q1" again/,
  ],
  ['{"query": "q1", "text": "x"}', /bad\.jsonl:1: reasoning: expected string/],
  ['{"query": "q1", "reasoning": " "}', /bad\.jsonl:1: reasoning: expected a text that is not empty/],
  ['{"query": "q1", "reasoning"}\n', /bad\.jsonl:1: expected valid JSON/],
])('refused: %s', async (text, message) => {
  const file = join(folder, 'bad.jsonl');
  await writeFile(file, text);
  await expect(make({ source: 'file', file })).rejects.toThrow(message);
});

test('stopped: an interruption', async () => {
  const stopped = make({ source: 'grounded' }, undefined, QUERIES, AbortSignal.abort());
  await expect(stopped).rejects.toThrow(InterruptedError);
  expect(() => sftOptionsSchema.parse({ reasoning: { source: 'file' } })).toThrow(/source file/);
});
