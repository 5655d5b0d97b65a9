/** The prompts around texts, within the limits of the model and the caller. */
import {
  DEFAULT_LIMITS,
  type NameOfText,
  PromptCache,
  type PromptIds,
  type PromptOptions,
  requireReasoning,
} from '../checkpoint/index.js';
import type { Model } from '../model/index.js';
import { InputError } from '../run/index.js';

/** Which prompt of a model: to embed a query or a document directly, or to reason about a query. */
export type PromptKind = 'query' | 'document' | 'reasoning';

/** Positions that the reasoning takes, and what asks for them. */
export interface Reserved {
  /** For errors. */
  source: string;
  field: string;
  /** Tokens of the reasoning, at most. The embed token follows them. */
  tokens: number;
}

export class EmbedPrompts {
  readonly #model: Model;
  readonly #cache: PromptCache;

  constructor(model: Model) {
    this.#model = model;
    this.#cache = new PromptCache(model.tokenizer, model.prompts);
  }

  /** The default values of the length options. */
  get limits(): { maxLength: number; maxNewTokens: number } {
    const { maxLength, maxNewTokens } = this.#model.limits ?? {};
    return {
      maxLength: maxLength ?? DEFAULT_LIMITS.maxLength,
      maxNewTokens: maxNewTokens ?? DEFAULT_LIMITS.maxNewTokens,
    };
  }

  /** The positions for a prompt, after subtracting the reasoning and the embed token that follows it. */
  positions(kind: PromptKind, reserved: Pick<Reserved, 'tokens'>): number {
    return this.#model.config.maxPositions - (kind === 'reasoning' ? reserved.tokens + 1 : 0);
  }

  /** `positions`. @throws InputError if the prompt does not fit even without its text. */
  async room(kind: PromptKind, reserved: Reserved): Promise<number> {
    const reasoned = kind === 'reasoning';
    if (reasoned) requireReasoning(this.#model);
    const room = this.positions(kind, reserved);
    const [{ ids: bare }] = (await this.#cached([''], kind)) as [PromptIds];
    if (room >= bare.length) return room;
    const { maxPositions } = this.#model.config;
    const most = maxPositions - bare.length - 1;
    const { source, field, tokens } = reserved;
    if (reasoned && most >= 1) {
      throw new InputError({
        source,
        field,
        expected: `at most ${most}, beside the ${bare.length} tokens of the prompt in the ${maxPositions} positions of the model`,
        found: String(tokens),
      });
    }
    throw new InputError({
      source: 'model',
      field: 'max_position_embeddings',
      expected: `room for the ${bare.length} tokens of its prompt${reasoned ? ' and for reasoning' : ''}`,
      found: String(maxPositions),
      remedy: 'It takes a model of more positions, or shorter prompts.',
    });
  }

  /**
   * The prompts of texts. They are shared and must not be changed.
   * @throws InputError if one has no tokens or, with `strict`, is too long. It names the text.
   */
  async build(
    texts: readonly string[],
    kind: PromptKind,
    limit: PromptOptions,
    nameOf: (index: number) => string,
  ): Promise<Readonly<PromptIds>[]> {
    const built = await this.#cached(texts, kind, limit, nameOf);
    const empty = built.findIndex(({ ids }) => ids.length === 0);
    if (empty < 0) return built;
    throw new InputError({ source: nameOf(empty), expected: 'a text with tokens', found: 'none' });
  }

  #cached(
    texts: readonly string[],
    kind: PromptKind,
    limit?: PromptOptions,
    nameOf?: NameOfText,
  ): Promise<Readonly<PromptIds>[]> {
    return kind === 'reasoning'
      ? this.#cache.reasoning(texts, limit, nameOf)
      : this.#cache.direct(texts, kind, limit, nameOf);
  }
}
