/** Gets the results of transformers' AutoTokenizer and of this package for the same tokenizer folders. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Tokenizer } from 'search-r3/tokenizer';
import { ORACLES } from '../support/python.js';
import type { Chat } from './folder-texts.js';

/** What `tools/oracles/tokenizer_folders.py` prints for one folder. */
export interface Answer {
  error?: string;
  class: string;
  size: number;
  added: Record<string, object>;
  named: Record<string, string>;
  ids: number[][];
  marked: number[][];
  chats: number[][];
  decoded: string[];
}

export interface Asked {
  folder: string;
  texts: string[];
  chats: Chat[];
}

/** Yields answers in the order of the questions. One Python process answers them all. */
export async function* askTransformers(python: string, asked: readonly Asked[]): AsyncGenerator<Answer> {
  const oracle = spawn(python, [join(ORACLES, 'tokenizer_folders.py')], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  try {
    const lines = createInterface({ input: oracle.stdout })[Symbol.asyncIterator]();
    for (const question of asked) {
      // The Python binding rejects lone surrogates.
      const texts = question.texts.map((text) => text.toWellFormed());
      oracle.stdin.write(`${JSON.stringify({ ...question, texts })}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('the oracle ended early');
      yield JSON.parse(value as string) as Answer;
    }
  } finally {
    oracle.stdin.end();
  }
}

/** The same answer from this package's tokenizer. */
export async function answer({ folder, texts, chats }: Asked): Promise<Omit<Answer, 'class' | 'error'>> {
  const tokenizer = await Tokenizer.load(folder);
  const { tokenizer: json, named } = (
    tokenizer as unknown as {
      files: { tokenizer: { added_tokens: { id: number }[] }; named: Record<string, string> };
    }
  ).files;
  const ids = await tokenizer.encodeBatch(texts);
  const rendered = chats.map(({ messages, add_generation_prompt }) =>
    tokenizer.renderChat(messages, { addGenerationPrompt: add_generation_prompt }),
  );
  return {
    size: tokenizer.vocabSize,
    added: Object.fromEntries(json.added_tokens.map(({ id, ...token }) => [id, token])),
    named,
    ids,
    marked: await tokenizer.encodeBatch(texts, { addSpecialTokens: true }),
    chats: await tokenizer.encodeBatch(rendered),
    decoded: ids.map((one) => tokenizer.decode(one)),
  };
}
