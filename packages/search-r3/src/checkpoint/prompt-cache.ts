/**
 * A cache of prompts: a training run draws the same documents at many steps, and cutting a long one to fit means
 * encoding it several times.
 */
import { LRUCache } from 'lru-cache';
import type { Tokenizer } from '../tokenizer/index.js';
import {
  directPrompts,
  type NameOfText,
  type PromptIds,
  type PromptOptions,
  type Role,
  reasoningPrompts,
} from './prompt-ids.js';
import type { Prompts } from './prompts.js';

/** About 100 MB: an id takes eight bytes, and the text is kept as well. */
const DEFAULT_CAPACITY = 8_000_000;

/**
 * `directPrompts` and `reasoningPrompts` of one tokenizer and its prompts, cached by text, role and limits. The least
 * recently used prompts are dropped first. The tokenizer must not change meanwhile.
 */
export class PromptCache {
  readonly #tokenizer: Tokenizer;
  readonly #prompts: Prompts;
  readonly #known: LRUCache<string, Readonly<PromptIds>>;

  /** @param options `capacity`: ids kept, over all prompts. Default 8,000,000. */
  constructor(tokenizer: Tokenizer, prompts: Prompts, { capacity = DEFAULT_CAPACITY } = {}) {
    this.#tokenizer = tokenizer;
    this.#prompts = prompts;
    this.#known = new LRUCache({ maxSize: capacity, sizeCalculation: ({ ids }) => Math.max(1, ids.length) });
  }

  /** `directPrompts`. The results are shared: they must not be changed. */
  direct(
    texts: readonly string[],
    role: Role,
    options: PromptOptions = {},
    nameOf?: NameOfText,
  ): Promise<Readonly<PromptIds>[]> {
    return this.#remember(role, texts, options, nameOf, (missing, names) =>
      directPrompts(this.#tokenizer, this.#prompts, missing, role, options, names),
    );
  }

  /** `reasoningPrompts`. The results are shared: they must not be changed. */
  reasoning(
    texts: readonly string[],
    options: PromptOptions = {},
    nameOf?: NameOfText,
  ): Promise<Readonly<PromptIds>[]> {
    return this.#remember('reasoning', texts, options, nameOf, (missing, names) =>
      reasoningPrompts(this.#tokenizer, this.#prompts, missing, options, names),
    );
  }

  async #remember(
    kind: string,
    texts: readonly string[],
    options: PromptOptions,
    nameOf: NameOfText | undefined,
    build: (texts: string[], nameOf: NameOfText | undefined) => Promise<PromptIds[]>,
  ): Promise<Readonly<PromptIds>[]> {
    const prefix = `${kind} ${JSON.stringify(options)} `;
    const found = new Map<string, Readonly<PromptIds>>();
    /** Each distinct text, with its first position. */
    const missing = new Map<string, number>();
    for (const [index, text] of texts.entries()) {
      const known = this.#known.get(prefix + text);
      if (known !== undefined) found.set(text, known);
      else if (!missing.has(text)) missing.set(text, index);
    }
    const places = [...missing.values()];
    const built = await build([...missing.keys()], nameOf && ((i) => nameOf(places[i] as number)));
    for (const [i, text] of [...missing.keys()].entries()) found.set(text, built[i] as PromptIds);
    for (const [text, prompt] of found) this.#known.set(prefix + text, prompt);
    return texts.map((text) => found.get(text) as Readonly<PromptIds>);
  }
}
