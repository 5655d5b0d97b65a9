/**
 * Compares our own code with the library's equivalents on random strings: adding tokens, and learning byte-pair merges.
 */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { Tokenizer, trainByteLevelBpe } from 'search-r3/tokenizer';
import { Tokenizer as LibraryTokenizer } from 'tokenizers';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { randomTexts } from './folder-texts.js';
import { FOLDERS } from './folders.js';
import { folderOf } from './pipelines.js';

describe('addToken', () => {
  test.each(Object.keys(FOLDERS))('%s: ids are those of addSpecialTokens', async (name) => {
    const base = await Tokenizer.load(await folderOf(FOLDERS[name]!));
    const saved = await mkdtemp(join(tmpdir(), 'added-'));
    await base.save(saved);
    const json = await readFile(join(saved, 'tokenizer.json'), 'utf8');
    const token = fc.oneof(
      fc.constantFrom('<|embed_token|>', 'the', ' cat', '<s>', 'é', 'Ġ', '▁the', '\n', '12'),
      fc.string({ unit: 'grapheme', minLength: 1, maxLength: 6 }).map((text) => text.toWellFormed()),
    );
    for (const [i, tokens] of fc
      .sample(fc.uniqueArray(token, { minLength: 1, maxLength: 3 }), { numRuns: scaled(4, 300), seed: 5 })
      .entries()) {
      const own = base.copy();
      const ids = tokens.map((one) => own.addToken(one));
      const library = LibraryTokenizer.fromString(json);
      library.disableTruncation();
      library.disablePadding();
      // A token that is already special keeps its flags here; the library would reset them.
      library.addSpecialTokens(tokens.filter((one) => !base.specialIds.has(base.idOf(one) ?? -1)));
      expect(ids).toEqual(tokens.map((one) => library.tokenToId(one)));
      const texts = randomTexts(scaled(5, 20), i, tokens);
      const expected = await library.encodeBatch(
        texts.map((text) => text.toWellFormed()),
        { addSpecialTokens: false },
      );
      expect(await own.encodeBatch(texts)).toEqual(expected.map((encoding) => encoding.getIds()));
      expect(ids.map((id) => own.specialIds.has(id))).toEqual(ids.map(() => true));
    }
  });
});

test('merges of byte-level BPE are those that the library learns, whatever the text', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'merges-'));
  const corpus = fc.array(
    fc.oneof(
      fc.constantFrom(
        'the cat sat on the mat',
        'a a a b b',
        "don't 123 123",
        '中文 中文字',
        'tie tie eit eit',
      ),
      fc.string({ unit: 'grapheme', maxLength: 20 }),
      fc.stringMatching(/^[abc ]{0,24}$/),
    ),
    { minLength: 1, maxLength: 8 },
  );
  for (const drawn of fc.sample(corpus, { numRuns: scaled(20, 1500), seed: 7 })) {
    // The library reads a file line by line and includes the line endings.
    const lines = drawn.map((text) => `${text.toWellFormed().replace(/[\r\n]/g, '')}\n`);
    const tokenizer = await trainByteLevelBpe(lines, { vocabSize: 5000 });
    await tokenizer.save(folder);
    const ours = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8'));
    const empty = { ...ours, added_tokens: [], model: { ...ours.model, vocab: {}, merges: [] } };
    const library = LibraryTokenizer.fromString(JSON.stringify(empty));
    await writeFile(join(folder, 'corpus.txt'), lines.join(''));
    library.train([join(folder, 'corpus.txt')]);
    library.save(join(folder, 'library.json'));
    const theirs = JSON.parse(await readFile(join(folder, 'library.json'), 'utf8'));
    const pairs = (merges: (string | string[])[]) =>
      merges.map((pair) => (typeof pair === 'string' ? pair : pair.join(' ')));
    expect(pairs(ours.model.merges)).toEqual(pairs(theirs.model.merges));
  }
});
