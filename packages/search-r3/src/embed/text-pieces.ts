/** The text of generated tokens, piece by piece. */
import type { Tokenizer } from '../tokenizer/index.js';

export class TextPieces {
  readonly #stream: ReturnType<Tokenizer['stream']>;
  readonly #emit: (piece: string) => void;

  /** @param emit called with each piece of text as soon as no later token can change it. */
  constructor(tokenizer: Tokenizer, emit: (piece: string) => void) {
    this.#stream = tokenizer.stream();
    this.#emit = emit;
  }

  add(token: number): void {
    this.#send(this.#stream.add(token));
  }

  /** Emits the rest of the text. Call it after the last token. */
  end(): void {
    this.#send(this.#stream.end());
  }

  #send(piece: string): void {
    if (piece !== '') this.#emit(piece);
  }
}
