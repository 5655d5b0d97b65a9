/** A base model that was never trained here, in the library. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, loadRetriever, type RetrieverOptions } from 'search-r3';
import { directPrompt, saveCheckpoint } from 'search-r3/checkpoint';
import { Model, makeEmbeddingModel } from 'search-r3/model';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { tinyBase } from '../cli/tiny.js';
import { relativeError } from '../reference/finite-differences.js';

let cwd: string;
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'api-base-'));
});
afterAll(() => rm(cwd, { recursive: true }));

const refusal = (work: Promise<unknown>) =>
  work.then(
    () => undefined,
    (error: unknown) => (error instanceof InputError ? error.problem.field : error),
  );

test.each(['worker', 'current'] as const)(
  'a base embeds, indexes and searches with the preset topics, or as it is told: %s',
  async (thread) => {
    const base = join(cwd, `topics-${thread}`);
    await saveCheckpoint(base, tinyBase());
    const notes: string[] = [];
    const onNote = (note: string) => notes.push(note);
    const own = await loadRetriever(base, { thread, onNote });
    expect(notes).toEqual([
      expect.stringMatching(/topics-\w+: Prompts: the preset topics, because no file /),
    ]);
    await using model = Model.of(makeEmbeddingModel(tinyBase()));
    const encoder = await model.encoder();
    const { ids } = await directPrompt(model.tokenizer, model.prompts, 'soup', 'query');
    const [embedding] = await own.embed(['soup']);
    expect(relativeError(embedding!.vector, await encoder.encode([ids]))).toBeLessThan(1e-5);

    const out = join(cwd, `topics-index-${thread}`);
    const documents = ['soup', 'bread', 'wool of cavel'].map((text, i) => ({ id: `d${i}`, text }));
    await own.index(documents, { out });
    const index = await own.open(out);
    // Without a prompt for reasoning, a search does not reason, unless it is asked to, which is refused.
    const [found] = await index.search(['wool of cavel'], { k: 1 });
    expect(found).toMatchObject({ reasoning: null, results: [{ id: 'd2' }] });
    // Queries and documents have the same prompt.
    expect(found?.results[0]?.score).toBeCloseTo(1, 5);
    expect(await refusal(index.search(['soup'], { reasoning: true }))).toBe('prompts.reasoning');
    await own.dispose();

    const text = 'Text: {text}\nThe main topics of this text, as keywords:';
    const topics = { text, specialTokens: true };
    const fields = { pooling: 'last-token' as const, prompts: { query: topics, document: topics } };
    const others: [RetrieverOptions['prompts'], string | undefined][] = [
      [fields, undefined],
      [{ ...fields, dimensions: 7 }, 'fingerprint.dimensions'],
      [
        { ...fields, prompts: { query: topics, document: { text: 'of {text}' } } },
        'fingerprint.documentPrompt',
      ],
    ];
    for (const [prompts, field] of others) {
      await using other = await loadRetriever(base, { thread, ...(prompts && { prompts }) });
      if (field === undefined) expect(await (await other.open(out)).count()).toBe(3);
      else expect(await refusal(other.open(out))).toBe(field);
    }
    notes.length = 0;
    const asking = { ...fields, prompts: { query: { text: 'of {text}' }, document: topics } };
    await using other = await loadRetriever(base, { thread, onNote, prompts: asking });
    await other.open(out);
    expect(notes[1]).toMatch(
      /: made with another queryPrompt \(the prompts around a query, .*\): \w{16}, now \w{16}\.$/,
    );
  },
);
