/** The text of generated tokens, piece by piece. */
import type { Tokenizer } from '../tokenizer/index.js';

export class TextPieces {
  readonly #stream: ReturnType<Tokenizer['stream']>;
  readonly #emit: (piece: string) => void;
  readonly #omit: (token: number) => boolean;

  /**
   * @param emit called with each piece of text as soon as no later token can change it.
   * @param omit tells tokens that are no text.
   */
  constructor(tokenizer: Tokenizer, emit: (piece: string) => void, omit: (token: number) => boolean) {
    this.#stream = tokenizer.stream();
    this.#emit = emit;
    this.#omit = omit;
  }

  add(token: number): void {
    if (!this.#omit(token)) this.#send(this.#stream.add(token));
  }

  /** Emits the rest of the text. Call it after the last token. */
  end(): void {
    this.#send(this.#stream.end());
  }

  #send(piece: string): void {
    if (piece !== '') this.#emit(piece);
  }
}
