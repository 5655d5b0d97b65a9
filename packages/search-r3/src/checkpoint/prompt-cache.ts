/**
 * Prompts that are asked for again and again: a training run draws the same documents at many steps, and cutting a long
 * one to fit takes several encodings of it.
 */
import type { Tokenizer } from '../tokenizer/index.js';
import {
  directPrompt,
  type PromptIds,
  type PromptOptions,
  type Role,
  reasoningPrompt,
} from './prompt-ids.js';
import type { Prompts } from './prompts.js';

/** About 100 MB: an id takes eight bytes, and its text is kept too. */
const DEFAULT_CAPACITY = 8_000_000;

/**
 * `directPrompt` and `reasoningPrompt` of one tokenizer and its prompts, remembered by text, role and limits. What was
 * asked for longest ago is forgotten first. The tokenizer must not change meanwhile.
 */
export class PromptCache {
  readonly #tokenizer: Tokenizer;
  readonly #prompts: Prompts;
  readonly #capacity: number;
  /** In the order of their last use. */
  readonly #known = new Map<string, Readonly<PromptIds>>();
  #size = 0;

  /** @param options `capacity`: ids kept, over all prompts. Default 8,000,000. */
  constructor(tokenizer: Tokenizer, prompts: Prompts, { capacity = DEFAULT_CAPACITY } = {}) {
    this.#tokenizer = tokenizer;
    this.#prompts = prompts;
    this.#capacity = capacity;
  }

  /** `directPrompt`. The result is shared: it must not be changed. */
  direct(text: string, role: Role, options: PromptOptions = {}): Readonly<PromptIds> {
    return this.#remember(role, text, options, () =>
      directPrompt(this.#tokenizer, this.#prompts, text, role, options),
    );
  }

  /** `reasoningPrompt`. The result is shared: it must not be changed. */
  reasoning(text: string, options: PromptOptions = {}): Readonly<PromptIds> {
    return this.#remember('reasoning', text, options, () =>
      reasoningPrompt(this.#tokenizer, this.#prompts, text, options),
    );
  }

  #remember(kind: string, text: string, options: PromptOptions, build: () => PromptIds): Readonly<PromptIds> {
    const key = `${kind} ${JSON.stringify(options)} ${text}`;
    const known = this.#known.get(key);
    this.#known.delete(key);
    const prompt = known ?? build();
    this.#known.set(key, prompt);
    if (known === undefined) this.#size += prompt.ids.length;
    for (const [oldest, { ids }] of this.#known) {
      if (this.#size <= this.#capacity) break;
      this.#known.delete(oldest);
      this.#size -= ids.length;
    }
    return prompt;
  }
}
