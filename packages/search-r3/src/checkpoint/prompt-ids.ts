/** Token ids of prompts. If a prompt does not fit, the text is cut, never the template around it. */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { renderPrompt } from './instructions.js';
import { requireReasoning } from './presets.js';
import { aroundText, type Prompts } from './prompts.js';

export type Role = 'query' | 'document';

const optionsSchema = z.strictObject({
  /** Maximum number of ids in the prompt. Default: unlimited. */
  maxTokens: z.int().positive().optional(),
  /** Reject a text that does not fit instead of cutting its end. Default false. */
  strict: z.boolean().default(false),
});

export type PromptOptions = z.input<typeof optionsSchema>;

export interface PromptIds {
  ids: readonly number[];
  /** Part of the text was left out. */
  truncated: boolean;
}

/**
 * The id of an embed token.
 * @param source names the tokenizer in the error.
 * @throws InputError if the tokenizer does not have it as a special token.
 */
export function embedTokenId(tokenizer: Tokenizer, embedToken: string, source = 'tokenizer'): number {
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
 * The id of the token that a new embed token starts as; undefined for the mean of all.
 * @param source names the model in the error.
 * @throws InputError if the tokenizer does not have it.
 */
export function initialToken(
  tokenizer: Tokenizer,
  prompts: Prompts | undefined,
  source = 'prompts',
): number | undefined {
  const init = prompts?.embedTokenInit;
  if (init === undefined) return undefined;
  const id = tokenizer.idOf(init);
  if (id !== undefined) return id;
  throw new InputError({
    source,
    field: 'prompts.embedTokenInit',
    expected: 'a token of the vocabulary, as the tokenizer writes it',
    found: init,
  });
}

/** The name of the text at this index in errors; undefined leaves it unnamed. */
export type NameOfText = (index: number) => string | undefined;

/**
 * The prompt for embedding directly. The hidden state at its last id, which is the embed token if the prompts have one,
 * is the embedding.
 * @throws InputError if the prompt does not fit into `maxTokens`.
 */
export async function directPrompt(
  tokenizer: Tokenizer,
  prompts: Prompts,
  text: string,
  role: Role,
  options: PromptOptions = {},
): Promise<PromptIds> {
  const [prompt] = await directPrompts(tokenizer, prompts, [text], role, options);
  return prompt as PromptIds;
}

/** `directPrompt` for many texts, which are encoded together. */
export async function directPrompts(
  tokenizer: Tokenizer,
  prompts: Prompts,
  texts: readonly string[],
  role: Role,
  options: PromptOptions = {},
  nameOf?: NameOfText,
): Promise<PromptIds[]> {
  const { embedToken } = prompts;
  const suffix = embedToken === undefined ? [] : [embedTokenId(tokenizer, embedToken)];
  return fitAll(tokenizer, texts, options, { ...formOf(tokenizer, prompts, prompts[role]), suffix }, nameOf);
}

/**
 * The prompt after which the model reasons: of a conversation, up to the opening of the assistant's turn.
 * @throws InputError if the prompts have none for reasoning.
 */
export async function reasoningPrompt(
  tokenizer: Tokenizer,
  prompts: Prompts,
  text: string,
  options: PromptOptions = {},
): Promise<PromptIds> {
  const [prompt] = await reasoningPrompts(tokenizer, prompts, [text], options);
  return prompt as PromptIds;
}

/** `reasoningPrompt` for many texts, which are encoded together. */
export async function reasoningPrompts(
  tokenizer: Tokenizer,
  prompts: Prompts,
  texts: readonly string[],
  options: PromptOptions = {},
  nameOf?: NameOfText,
): Promise<PromptIds[]> {
  const form = formOf(tokenizer, prompts, requireReasoning({ prompts }));
  return fitAll(tokenizer, texts, options, { ...form, suffix: [] }, nameOf);
}

/**
 * Checks that prompts can be made, without encoding any.
 * @throws InputError if the chat template is missing or unusable, or a plain prompt spells out an unknown special token.
 */
export function assertPromptable(tokenizer: Tokenizer, prompts: Prompts, source: string): void {
  for (const field of ['query', 'document', 'reasoning'] as const) {
    const prompt = prompts[field];
    if (prompt === undefined) continue;
    if (!('text' in prompt)) {
      formOf(tokenizer, prompts, prompt).render('');
      continue;
    }
    const unknown = prompt.text.match(/<\|.*?\|>/g)?.find((token) => tokenizer.idOf(token) === undefined);
    if (unknown === undefined) continue;
    const expected = 'special tokens of the tokenizer';
    throw new InputError({ source, field: `prompts.${field}.text`, expected, found: unknown });
  }
}

function formOf(
  tokenizer: Tokenizer,
  prompts: Prompts,
  prompt: Prompts['query'] | NonNullable<Prompts['reasoning']>,
): Omit<Form, 'suffix'> {
  if ('text' in prompt) {
    const [before, after] = aroundText(prompt);
    const { specialTokens = false } = prompt;
    return { render: (content) => before + content + after, specialTokens };
  }
  const assistant = 'assistant' in prompt ? prompt.assistant : '';
  const render = (content: string) => renderPrompt(tokenizer, prompts, prompt.system, content) + assistant;
  return { render, specialTokens: false };
}

/** How far from a cut, in characters, to look for the end of a word: half a word is worse than none. */
const WORD_LIMIT = 64;

/** The prompt around a text, and the ids after it. */
interface Form {
  render: (content: string) => string;
  /** Whether the tokenizer adds its own special tokens. */
  specialTokens: boolean;
  suffix: readonly number[];
}

/** The prompt of each text, or of its longest beginning that `maxTokens` allows. */
async function fitAll(
  tokenizer: Tokenizer,
  texts: readonly string[],
  options: PromptOptions,
  { render, specialTokens, suffix }: Form,
  nameOf: NameOfText = () => undefined,
): Promise<PromptIds[]> {
  const { maxTokens = Number.POSITIVE_INFINITY, strict } = validate(optionsSchema, options, 'prompt options');
  if (texts.length === 0) return [];
  const build = async (contents: readonly string[], places: readonly number[]): Promise<number[][]> => {
    const name = (i: number) => nameOf(places[i] as number);
    const rendered = contents.map((content, i) => named(name(i), () => render(content)));
    return (await encodeAll(tokenizer, rendered, specialTokens, name)).map((ids) => [...ids, ...suffix]);
  };
  const contents = texts.map((text) => tokenizer.escapeSpecialTokens(text));
  const whole = await build(contents, [...texts.keys()]);
  const prompts = whole.map((ids): PromptIds => ({ ids, truncated: false }));
  const long = [...whole.keys()].filter((i) => (whole[i] as number[]).length > maxTokens);
  const [first] = long;
  if (first === undefined) return prompts;

  const refuse = (expected: string, found: number, remedy: string) =>
    named(nameOf(first), () => {
      throw new InputError({ source: 'prompt', expected, found: `${found} tokens`, remedy });
    });
  if (strict) {
    const found = (whole[first] as number[]).length;
    refuse(`at most ${maxTokens} tokens`, found, 'Shorten the text, or allow it to be cut.');
  }
  const bare = (await build([''], [first]))[0] as number[];
  if (bare.length > maxTokens) {
    refuse(
      `room for the prompt in ${maxTokens} tokens`,
      bare.length,
      'Allow longer texts (--max-length, maxLength) or shorten the prompt.',
    );
  }
  let searches = long.map((place) => {
    const search = longest(contents[place] as string, bare, whole[place] as number[], maxTokens);
    return { place, search, asked: search.next() };
  });
  while (searches.length > 0) {
    const beginnings: string[] = [];
    for (const { place, asked } of searches) {
      if (asked.done) prompts[place] = { ids: asked.value, truncated: true };
      else beginnings.push(asked.value);
    }
    searches = searches.filter(({ asked }) => !asked.done);
    const places = searches.map(({ place }) => place);
    const built = await build(beginnings, places);
    for (const [i, one] of searches.entries()) one.asked = one.search.next(built[i] as number[]);
  }
  return prompts;
}

/** Encodes all texts together; if that fails, one after another, so that the error names the text. */
async function encodeAll(
  tokenizer: Tokenizer,
  rendered: readonly string[],
  addSpecialTokens: boolean,
  nameOf: NameOfText,
): Promise<number[][]> {
  try {
    return await tokenizer.encodeBatch(rendered, { addSpecialTokens });
  } catch (error) {
    for (const [i, text] of rendered.entries()) {
      await tokenizer.encode(text).catch((problem: unknown) =>
        named(nameOf(i), () => {
          throw problem;
        }),
      );
    }
    throw error;
  }
}

/** Runs `work`; an InputError from it gets the name of the text as its source. */
function named<T>(name: string | undefined, work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (name === undefined || !(error instanceof InputError)) throw error;
    const { problem } = error;
    throw new InputError({ ...problem, source: name, field: problem.source });
  }
}

/**
 * Searches for a beginning that exactly fills the limit, or else the longest one that fits: yields beginnings, receives
 * the ids of their prompts, and returns the best. The number of ids is nearly linear in the number of characters, so
 * most guesses are proportional; each is checked by building the prompt, because the tokenizer may behave differently
 * at the cut.
 */
function* longest(
  content: string,
  bare: readonly number[],
  whole: readonly number[],
  maxTokens: number,
): Generator<string, readonly number[], readonly number[]> {
  let [low, high] = [0, content.length];
  let [best, above] = [bare, whole.length];
  for (let step = 1; high - low > 1 && best.length < maxTokens; step++) {
    // Bisect now and then, for texts of uneven density.
    const share = step % 3 === 0 ? 0.5 : (maxTokens - best.length + 0.5) / (above - best.length);
    const middle = Math.min(high - 1, Math.max(low + 1, Math.round(low + share * (high - low))));
    const ids = yield content.slice(0, onCodePoint(content, middle));
    if (ids.length <= maxTokens) [low, best] = [middle, ids];
    else [high, above] = [middle, ids.length];
  }
  for (const end of wordEnds(content, onCodePoint(content, low))) {
    const ids = yield content.slice(0, end);
    if (ids.length <= maxTokens) return ids;
  }
  return best;
}

/** Better places to cut than `cut`: after the word it splits, which may still fit, or before that word. */
function wordEnds(content: string, cut: number): number[] {
  const rest = /^\S*/u.exec(content.slice(cut, cut + WORD_LIMIT))?.[0].length ?? 0;
  const partial = rest === 0 ? /\s+$/u : /\s+\S*$/u;
  const left = partial.exec(content.slice(Math.max(0, cut - WORD_LIMIT), cut))?.[0].length;
  const ends = rest === 0 || rest === WORD_LIMIT ? [] : [cut + rest];
  return left === undefined ? ends : [...ends, cut - left];
}

/** The position itself, or the one before if it would split a surrogate pair. */
function onCodePoint(text: string, position: number): number {
  const before = text.charCodeAt(position - 1);
  return before >= 0xd800 && before <= 0xdbff ? position - 1 : position;
}
