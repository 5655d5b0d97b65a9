/** Token ids of prompts. What does not fit is cut from the text, never from the template around it. */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import type { Tokenizer } from '../tokenizer/index.js';
import type { Prompts } from './prompts.js';

export type Role = 'query' | 'document';

const optionsSchema = z.strictObject({
  /** The most ids the prompt may have. Default: no bound. */
  maxTokens: z.int().positive().optional(),
  /** Refuse a text that does not fit, instead of cutting its end. Default false. */
  strict: z.boolean().default(false),
});

export type PromptOptions = z.input<typeof optionsSchema>;

export interface PromptIds {
  ids: readonly number[];
  /** Part of the text was left out. */
  truncated: boolean;
}

/**
 * The id of the prompts' embed token.
 * @param source names the tokenizer in the error.
 * @throws InputError where the tokenizer does not have it as a special token.
 */
export function embedTokenId(tokenizer: Tokenizer, prompts: Prompts, source = 'tokenizer'): number {
  const { embedToken } = prompts;
  const id = tokenizer.idOf(embedToken);
  if (id !== undefined && tokenizer.specialIds.has(id)) return id;
  throw new InputError({
    source,
    expected: `the special token ${embedToken}`,
    found: id === undefined ? 'none' : 'an ordinary token of this name',
    remedy: 'Add it to the checkpoint with addEmbedToken.',
  });
}

/**
 * The prompt that is embedded at once: instruction, text, and the assistant's turn up to the embed token, which is the
 * last id. Its hidden state is the embedding.
 */
export function directPrompt(
  tokenizer: Tokenizer,
  prompts: Prompts,
  text: string,
  role: Role,
  options: PromptOptions = {},
): PromptIds {
  const embedId = embedTokenId(tokenizer, prompts);
  const { system, assistant } = prompts[role];
  return fit(tokenizer, text, options, (content) => [
    ...tokenizer.encode(opening(tokenizer, prompts, system, content) + assistant),
    embedId,
  ]);
}

/** The prompt after which the model reasons: instruction, query, and the opening of the assistant's turn. */
export function reasoningPrompt(
  tokenizer: Tokenizer,
  prompts: Prompts,
  text: string,
  options: PromptOptions = {},
): PromptIds {
  const { system } = prompts.reasoning;
  return fit(tokenizer, text, options, (content) =>
    tokenizer.encode(opening(tokenizer, prompts, system, content)),
  );
}

function opening(
  tokenizer: Tokenizer,
  { templateVariables = {} }: Prompts,
  system: string,
  content: string,
): string {
  const messages = [
    { role: 'system', content: system },
    { role: 'user', content },
  ] as const;
  return tokenizer.renderChat(messages, { addGenerationPrompt: true, variables: templateVariables });
}

/** How far from its end, in characters, a word is looked for at a cut: half a word is worse than none. */
const WORD_LIMIT = 64;

/** The prompt with as long a beginning of the text as `maxTokens` allows. */
function fit(
  tokenizer: Tokenizer,
  text: string,
  options: PromptOptions,
  build: (content: string) => number[],
): PromptIds {
  const { maxTokens = Number.POSITIVE_INFINITY, strict } = validate(optionsSchema, options, 'prompt options');
  const content = tokenizer.escapeSpecialTokens(text);
  const whole = build(content);
  if (whole.length <= maxTokens) return { ids: whole, truncated: false };
  const refuse = (expected: string, found: number, remedy: string) =>
    new InputError({ source: 'prompt', expected, found: `${found} tokens`, remedy });
  if (strict) {
    throw refuse(`at most ${maxTokens} tokens`, whole.length, 'Shorten the text, or allow it to be cut.');
  }
  const bare = build('');
  if (bare.length > maxTokens) {
    throw refuse(
      `room for the prompt in ${maxTokens} tokens`,
      bare.length,
      'Allow longer texts (--max-length, maxLength) or shorten the prompt.',
    );
  }
  return { ids: longest(content, bare, whole, maxTokens, build), truncated: true };
}

/**
 * Searches a beginning that fills the bound, or the longest one. The number of ids is nearly linear in that of
 * characters, so most guesses are by proportion; each is checked by building the prompt, whatever its tokenizer does at
 * the cut.
 */
function longest(
  content: string,
  bare: number[],
  whole: number[],
  maxTokens: number,
  build: (content: string) => number[],
): number[] {
  let [low, high] = [0, content.length];
  let [best, above] = [bare, whole.length];
  for (let step = 1; high - low > 1 && best.length < maxTokens; step++) {
    // Halving now and then, against texts of uneven density.
    const share = step % 3 === 0 ? 0.5 : (maxTokens - best.length + 0.5) / (above - best.length);
    const middle = Math.min(high - 1, Math.max(low + 1, Math.round(low + share * (high - low))));
    const ids = build(content.slice(0, onCodePoint(content, middle)));
    if (ids.length <= maxTokens) [low, best] = [middle, ids];
    else [high, above] = [middle, ids.length];
  }
  for (const end of wordEnds(content, onCodePoint(content, low))) {
    const ids = build(content.slice(0, end));
    if (ids.length <= maxTokens) return ids;
  }
  return best;
}

/** Where to cut rather than at `cut`: after the word it goes through, which may still fit, or before it. */
function wordEnds(content: string, cut: number): number[] {
  const rest = /^\S*/u.exec(content.slice(cut, cut + WORD_LIMIT))?.[0].length ?? 0;
  const partial = rest === 0 ? /\s+$/u : /\s+\S*$/u;
  const left = partial.exec(content.slice(Math.max(0, cut - WORD_LIMIT), cut))?.[0].length;
  const ends = rest === 0 || rest === WORD_LIMIT ? [] : [cut + rest];
  return left === undefined ? ends : [...ends, cut - left];
}

/** The position itself, or the one before where it would part a surrogate pair. */
function onCodePoint(text: string, position: number): number {
  const before = text.charCodeAt(position - 1);
  return before >= 0xd800 && before <= 0xdbff ? position - 1 : position;
}
