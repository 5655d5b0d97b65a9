/** The text of tokens as they come. A token by itself has no text: characters may be of several, and spaces lie between. */
import type { Tokenizer } from '../tokenizer/index.js';

/** What stands for bytes that are no character, or not yet. */
const INCOMPLETE = /\uFFFD+$/;

export class TextPieces {
  readonly #tokenizer: Tokenizer;
  readonly #emit: (piece: string) => void;
  readonly #ids: number[] = [];
  #sent = 0;

  /** @param emit is called with what each token adds; put together, that is the text of all. */
  constructor(tokenizer: Tokenizer, emit: (piece: string) => void) {
    this.#tokenizer = tokenizer;
    this.#emit = emit;
  }

  add(token: number): void {
    this.#ids.push(token);
    this.#send(this.#text().replace(INCOMPLETE, ''));
  }

  /** No more tokens: what is incomplete stays so. */
  end(): void {
    this.#send(this.#text());
  }

  #text(): string {
    return this.#tokenizer.decode(this.#ids);
  }

  #send(text: string): void {
    if (text.length <= this.#sent) return;
    const piece = text.slice(this.#sent);
    this.#sent = text.length;
    this.#emit(piece);
  }
}
