/** What a model writes before it embeds: how generation ends, and what its completions say. */
import { embeddingOf } from '../decoder/index.js';
import type { Completion, LengthOptions } from '../generate/index.js';
import type { Model } from '../model/index.js';
import type { WrittenReasoning } from './request.js';
import { TextPieces } from './text-pieces.js';

export class Reasoner {
  readonly #model: Model;

  constructor(model: Model) {
    this.#model = model;
  }

  /** The token after the reasoning. Every model with a prompt for reasoning has one. */
  get embedId(): number {
    const { embedId } = this.#model;
    if (embedId === undefined) throw new Error('internal: a prompt for reasoning without an embed token');
    return embedId;
  }

  /** How generation ends: always with an embedding. */
  get ending(): Pick<LengthOptions, 'stop' | 'embedToken' | 'forceEmbed'> {
    return { stop: this.#model.stopIds, embedToken: this.embedId, forceEmbed: true };
  }

  /** Turns the tokens of a reasoning into pieces of its text. */
  pieces(emit: (piece: string) => void): TextPieces {
    return new TextPieces(this.#model.tokenizer, emit, (token) => this.#ends(token));
  }

  read({ tokens, finish }: Completion): WrittenReasoning {
    const written = tokens.filter((token) => !this.#ends(token));
    return { text: this.#model.tokenizer.decode(written), tokens: written, completed: finish === 'embed' };
  }

  vector({ hidden }: Completion, dimensions: number): Float32Array {
    if (hidden === undefined) throw new Error('internal: a reasoned text without an embedding');
    return embeddingOf(hidden, dimensions);
  }

  #ends(token: number): boolean {
    return token === this.#model.embedId || this.#model.stopIds.includes(token);
  }
}
