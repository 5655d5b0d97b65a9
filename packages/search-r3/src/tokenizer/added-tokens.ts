/**
 * Added tokens: tokens that are matched in a text before the model splits it. The library assigns their ids in order,
 * so their order matters.
 */
import { z } from 'zod';

/** Higher ids are rejected, because an embedding has one row per id. */
export const MAX_ID = 2 ** 24 - 1;

/** A token of `added_tokens_decoder`; `asAddedToken` fills in missing flags. */
export const addedTokenSchema = z.looseObject({ content: z.string().min(1) });

/** A token of `tokenizer.json` with all its flags. Fingerprints depend on the order of the fields. */
export const numberedTokenSchema = z.looseObject({
  id: z.int().nonnegative().max(MAX_ID),
  content: z.string().min(1),
  special: z.boolean(),
  single_word: z.boolean(),
  lstrip: z.boolean(),
  rstrip: z.boolean(),
  normalized: z.boolean(),
});

/** A token in a configuration: its text, or an object that contains the text. */
export const tokenSchema = z.union([z.string(), z.looseObject({ content: z.string() })]);

export type GivenToken = string | { readonly content: string; readonly [flag: string]: unknown };

/** How a token is matched in a text. */
export type Flags = {
  /** Matches only if no letter or digit is next to it. */
  single_word: boolean;
  /** The match includes the white space before it. */
  lstrip: boolean;
  /** The match includes the white space after it. */
  rstrip: boolean;
  /** The normalized token is matched in the normalized text. */
  normalized: boolean;
  /** Can be left out of decoded text, and is escaped in prompts. */
  special: boolean;
};

export type AddedToken = Flags & { content: string };

export type NumberedToken = AddedToken & { id: number };

/** Flags that neither argument sets get the defaults of Python's `AddedToken`: a special token is not normalized. */
export function asAddedToken(token: GivenToken, defaults: Partial<Flags> = {}): AddedToken {
  const given: Readonly<Record<string, unknown>> = typeof token === 'string' ? {} : token;
  const flag = (name: keyof Flags, otherwise: boolean): boolean => {
    const value = given[name] ?? defaults[name];
    return typeof value === 'boolean' ? value : otherwise;
  };
  const special = flag('special', false);
  return {
    content: contentOf(token),
    single_word: flag('single_word', false),
    lstrip: flag('lstrip', false),
    rstrip: flag('rstrip', false),
    normalized: flag('normalized', !special),
    special,
  };
}

export const contentOf = (token: GivenToken): string => (typeof token === 'string' ? token : token.content);

/** Added tokens on top of a model's vocabulary, with the ids that the library assigns. */
export class AddedTokens {
  readonly #vocabulary: ReadonlyMap<string, number>;
  /** The number of tokens in the model, as the library counts them. */
  readonly #modelSize: number;
  readonly #tokens = new Map<string, NumberedToken>();
  #highest = -1;

  constructor(vocabulary: ReadonlyMap<string, number>, modelSize: number) {
    this.#vocabulary = vocabulary;
    this.#modelSize = modelSize;
  }

  has(content: string): boolean {
    return this.#tokens.has(content);
  }

  /**
   * Does what one call to the library does. A token that was already added gets the new flags, but stays special.
   * @returns the ids of the tokens.
   */
  add<T extends AddedToken>(tokens: readonly T[]): number[] {
    let next = this.#next();
    return tokens.map((token) => {
      const { content } = token;
      const before = this.#tokens.get(content);
      const id = before?.id ?? this.#vocabulary.get(content) ?? next++;
      const same = before !== undefined && FLAGS.every((flag) => before[flag] === token[flag]);
      const special = token.special || before?.special === true;
      if (!same) this.#tokens.set(content, { ...before, ...token, special, id });
      this.#highest = Math.max(this.#highest, id);
      return id;
    });
  }

  #next(): number {
    const size = this.#modelSize;
    return size === 0 || this.#highest >= size ? this.#highest + 1 : size;
  }

  /** The tokens in order of id. */
  list(): NumberedToken[] {
    return [...this.#tokens.values()].sort((a, b) => a.id - b.id);
  }
}

const FLAGS = ['single_word', 'lstrip', 'rstrip', 'normalized', 'special'] as const;
