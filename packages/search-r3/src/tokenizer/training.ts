/**
 * Shared by the tokenizer trainers: options, the files around the vocabulary, and word counts. This package has its own
 * trainers because the library's Node binding reads texts only from files and cannot learn a word-level vocabulary with
 * fixed ids.
 */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { asAddedToken } from './added-tokens.js';
import { CHATML_TEMPLATE } from './chat-template.js';
import { alternatives } from './escape.js';
import { checkTokenizerJson, type TokenizerFiles } from './files.js';
import { LibraryTokenizer } from './library.js';
import { Tokenizer } from './tokenizer.js';

export const trainingShape = {
  /** Number of ids, including special tokens. There are fewer if the texts do not yield enough. */
  vocabSize: z.int().positive(),
  /** Tokens that are never split and never learned. Default: <|endoftext|>, <|im_start|>, <|im_end|>. */
  specialTokens: z.array(z.string().min(2)).default(['<|endoftext|>', '<|im_start|>', '<|im_end|>']),
  /** One of the special tokens. Default: <|im_end|> if it is one of them. */
  eosToken: z.string().optional(),
  /** One of the special tokens. Default: <|endoftext|> if it is one of them. */
  padToken: z.string().optional(),
  /** One of the special tokens. Default: none. */
  bosToken: z.string().optional(),
  /** Default: CHATML_TEMPLATE. */
  chatTemplate: z.string().default(CHATML_TEMPLATE),
};

interface CommonOptions {
  specialTokens: string[];
  eosToken?: string | undefined;
  padToken?: string | undefined;
  bosToken?: string | undefined;
  chatTemplate: string;
}

/** The parts of a tokenizer.json that process text before and after the model. */
export interface Pipeline {
  normalizer: unknown;
  pre_tokenizer: unknown;
  post_processor: unknown;
  decoder: unknown;
}

/** Splits texts as an encoder with this pipeline does, and counts the words. */
export class WordCounter {
  readonly #words: (text: string) => string[];
  readonly #special: readonly string[];
  readonly #counts = new Map<string, number>();

  constructor(pipeline: Pick<Pipeline, 'normalizer' | 'pre_tokenizer'>, specialTokens: readonly string[]) {
    this.#words = wordSplitter(pipeline, specialTokens);
    this.#special = specialTokens;
  }

  add(text: string): void {
    for (const word of this.#words(text)) this.#counts.set(word, (this.#counts.get(word) ?? 0) + 1);
  }

  /** The count of each word, without special tokens, in order of first appearance. */
  counts(): Map<string, number> {
    for (const token of this.#special) this.#counts.delete(token);
    return this.#counts;
  }
}

/** Returns a function that splits a text as an encoder with this pipeline does. Special tokens are separate words. */
export function wordSplitter(
  { normalizer, pre_tokenizer }: Pick<Pipeline, 'normalizer' | 'pre_tokenizer'>,
  specialTokens: readonly string[],
): (text: string) => string[] {
  const library = new LibraryTokenizer({
    version: '1.0',
    added_tokens: [],
    normalizer,
    pre_tokenizer,
    post_processor: null,
    decoder: null,
    model: { type: 'WordLevel', vocab: {}, unk_token: '' },
  });
  const words = library.words();
  if (specialTokens.length === 0) return words;
  const special = new Set(specialTokens);
  const boundary = new RegExp(`(${alternatives(specialTokens)})`, 'u');
  return (text) =>
    text.split(boundary).flatMap((part) => (part === '' ? [] : special.has(part) ? [part] : words(part)));
}

/** Builds a tokenizer from a model, a pipeline and options. Special tokens get the ids after the vocabulary. */
export function assemble(
  model: { vocab: Record<string, number> } & Record<string, unknown>,
  pipeline: Pipeline,
  options: CommonOptions,
  source: string,
  unkToken?: string,
): Tokenizer {
  const role = (name: 'eosToken' | 'padToken' | 'bosToken', preferred?: string): string | null => {
    const { specialTokens } = options;
    const token = options[name] ?? specialTokens.find((special) => special === preferred);
    if (token === undefined || specialTokens.includes(token)) return token ?? null;
    const expected = `one of the special tokens ${specialTokens.join(', ')}`;
    throw new InputError({ source, field: name, expected, found: `"${token}"` });
  };
  const size = Object.keys(model.vocab).length;
  const special = (content: string, id: number) => ({ id, ...asAddedToken(content, { special: true }) });
  const tokenizer = {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      ...(unkToken === undefined ? [] : [special(unkToken, model.vocab[unkToken] ?? 0)]),
      ...options.specialTokens.map((token, i) => special(token, size + i)),
    ],
    ...pipeline,
    model,
  };
  const roles = {
    bos_token: role('bosToken'),
    eos_token: role('eosToken', '<|im_end|>'),
    pad_token: role('padToken', '<|endoftext|>'),
    unk_token: unkToken ?? null,
  };
  const files: TokenizerFiles = {
    tokenizer: checkTokenizerJson(tokenizer, source),
    config: {
      tokenizer_class: 'PreTrainedTokenizerFast',
      ...roles,
      clean_up_tokenization_spaces: false,
      chat_template: options.chatTemplate,
    },
    named: Object.fromEntries(
      Object.entries(roles).filter((entry): entry is [string, string] => entry[1] !== null),
    ),
    templates: {},
  };
  return Tokenizer.fromFiles(files, source);
}

/** @throws InputError if `vocabSize` is less than `needed`. */
export function refuseSmall(vocabSize: number, needed: number, what: string, source: string): void {
  if (vocabSize >= needed) return;
  throw new InputError({
    source,
    field: 'vocabSize',
    expected: `at least ${needed}, for ${what}`,
    found: String(vocabSize),
  });
}
