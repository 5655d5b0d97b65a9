/** What generation takes: its options, and prompts that the model has tokens and positions for. */
import { z } from 'zod';
import type { ModelConfig } from '../checkpoint/index.js';
import { InputError } from '../run/index.js';

const count = z.int().positive();

/** The options but the signal and the callbacks, for a model of so many tokens. */
export function generateOptionsSchema({ vocabSize }: ModelConfig) {
  const token = z.int().nonnegative().lt(vocabSize);
  return z.strictObject({
    maxNewTokens: count,
    stop: z.array(token),
    embedToken: token.optional(),
    samples: count.default(1),
    seed: z.int().default(0),
    slots: count.default(128),
    temperature: z.number().nonnegative().default(1),
    topP: z.number().gt(0).max(1).default(1),
    topK: z.int().nonnegative().default(0),
  });
}

/** @throws InputError for a prompt that is empty, has other tokens than the model, or leaves too few positions. */
export function checkPrompts(
  prompts: readonly (readonly number[])[],
  maxNewTokens: number,
  { vocabSize, maxPositions }: ModelConfig,
): void {
  for (const [i, prompt] of prompts.entries()) {
    const source = `prompt ${i}`;
    if (prompt.length === 0) throw new InputError({ source, expected: 'tokens', found: 'none' });
    const at = prompt.findIndex((id) => !(Number.isInteger(id) && id >= 0 && id < vocabSize));
    if (at >= 0) {
      const expected = `a token id from 0 to ${vocabSize - 1}`;
      throw new InputError({ source, field: `token ${at}`, expected, found: String(prompt[at]) });
    }
    const most = maxPositions - prompt.length;
    if (maxNewTokens <= most) continue;
    if (most < 1) {
      const expected = `fewer tokens than the ${maxPositions} positions of the model`;
      throw new InputError({ source, expected, found: String(prompt.length) });
    }
    throw new InputError({
      source: 'generate options',
      field: 'maxNewTokens',
      expected: `at most ${most}, beside the ${prompt.length} tokens of ${source} in the ${maxPositions} positions of the model`,
      found: String(maxNewTokens),
    });
  }
}
