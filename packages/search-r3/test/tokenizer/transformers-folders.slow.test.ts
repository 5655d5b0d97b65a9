/**
 * Compares every folder with transformers, live, on random texts and conversations, before and after saving.
 * `RECORD=1 npx vitest run transformers-folders` records `transformers-folders.json` for machines without Python.
 */
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer } from 'search-r3/tokenizer';
import { expect, test } from 'vitest';
import { NO_PYTHON, pythonWith } from '../support/python.js';
import { scaled } from '../support/scale.js';
import { randomChats, randomTexts } from './folder-texts.js';
import { FOLDERS } from './folders.js';
import { folderOf } from './pipelines.js';
import { type Answer, type Asked, answer, askTransformers } from './transformers.js';

const python = pythonWith('transformers');
const TEXTS = scaled(120, 20_000);
const CHATS = scaled(20, 2_000);
const SEED = 1;

const hasTemplate = (files: object) => JSON.stringify(files).includes('for m in messages');

/** Questions about a folder and about the folder that results from saving its tokenizer. */
async function questions(name: string, texts: number, chats: number): Promise<Asked[]> {
  const files = FOLDERS[name]!;
  const folder = await folderOf(files);
  const tokenizer = await Tokenizer.load(folder);
  const special = [...tokenizer.specialIds].map((id) => tokenizer.tokenOf(id)!);
  const saved = await mkdtemp(join(tmpdir(), 'saved-'));
  await tokenizer.save(saved);
  const config = files['config.json'];
  if (config !== undefined) await writeFile(join(saved, 'config.json'), JSON.stringify(config));
  const asked = {
    texts: randomTexts(texts, SEED, special),
    chats: hasTemplate(files) ? randomChats(chats, SEED, special) : [],
  };
  return [
    { folder, ...asked },
    { folder: saved, texts: asked.texts.slice(0, 50), chats: asked.chats.slice(0, 10) },
  ];
}

test.skipIf(python === undefined)(
  `live: ids, texts and added tokens of every folder are those of AutoTokenizer (${NO_PYTHON})`,
  async () => {
    const names = Object.keys(FOLDERS);
    const asked = (await Promise.all(names.map((name) => questions(name, TEXTS, CHATS)))).flat();
    let at = 0;
    let compared = 0;
    for await (const expected of askTransformers(python!, asked)) {
      const question = asked[at]!;
      const name = `${names[at >> 1]}${at % 2 === 1 ? ', saved' : ''}`;
      at++;
      expect([name, expected.error]).toEqual([name, undefined]);
      const { class: _, ...rest } = expected;
      const found = await answer(question);
      for (const [i, text] of question.texts.entries()) {
        expect([name, text, found.ids[i], found.marked[i]]).toEqual([
          name,
          text,
          expected.ids[i],
          expected.marked[i],
        ]);
      }
      expect({ name, ...found }).toEqual({ name, ...rest });
      compared += question.texts.length + question.chats.length;
    }
    expect(at).toBe(asked.length);
    console.log(`${compared} texts and chats of ${names.length} folders`);
  },
);

test.runIf(process.env.RECORD !== undefined && python !== undefined)('records answers', async () => {
  const names = Object.keys(FOLDERS);
  const asked = await Promise.all(names.map(async (name) => (await questions(name, 12, 2))[0]!));
  const answers: Record<string, Answer & Pick<Asked, 'texts' | 'chats'>> = {};
  let at = 0;
  for await (const { chats: chatIds, ...found } of askTransformers(python!, asked)) {
    const { texts, chats } = asked[at]!;
    answers[names[at++]!] = { ...found, texts, chats, chatIds } as never;
  }
  await writeFile(join(import.meta.dirname, 'transformers-folders.json'), `${JSON.stringify(answers)}\n`);
  expect(JSON.parse(await readFile(join(import.meta.dirname, 'transformers-folders.json'), 'utf8'))).toEqual(
    answers,
  );
});
