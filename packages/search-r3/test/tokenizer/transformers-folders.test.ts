/**
 * Compares every folder with the recorded results of transformers 5.24: ids, added tokens, flags, roles and texts.
 * `RECORD=1 npx vitest run transformers-folders` records them again, with the Python of tools/oracles.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { FOLDERS } from './folders.js';
import { folderOf } from './pipelines.js';
import { type Answer, type Asked, answer } from './transformers.js';

type Record = { [name: string]: Omit<Answer, 'chats'> & Omit<Asked, 'folder'> & { chatIds: number[][] } };

const record: Record = JSON.parse(
  readFileSync(join(import.meta.dirname, 'transformers-folders.json'), 'utf8'),
);

test('every folder is in the record', () => {
  expect(Object.keys(record).sort()).toEqual(Object.keys(FOLDERS).sort());
});

test.each(Object.keys(record))('%s: as transformers reads it', async (name) => {
  const { class: _, texts, chats, chatIds, ...expected } = record[name]!;
  const found = await answer({ folder: await folderOf(FOLDERS[name]!), texts, chats });
  expect(found).toEqual({ ...expected, chats: chatIds });
});
