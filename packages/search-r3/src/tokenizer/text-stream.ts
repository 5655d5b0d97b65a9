/**
 * The text of tokens as they arrive. A token has no text of its own: a character may span several tokens, and what
 * separates tokens depends on their neighbours. So only final text is emitted, and the pieces add up to the whole text.
 */

/** Joins consecutive tokens into text. */
export type Decode = (tokens: string[]) => string;

/** How much of a decoded text the next token can still change. */
export type Unstable =
  | 'nothing'
  /** The last character, if bytes of it are missing. */
  | 'last character'
  /** The text of the byte tokens (<0xE2>) at the end. */
  | 'byte tokens'
  | 'everything';

/** The window moves on after this many tokens, so that decoding takes linear time. */
const WINDOW = 48;
/** Tokens that stay in the window as context: more than a character has bytes. */
const CONTEXT = 12;

const REPLACEMENT = '\ufffd';

/** The tokens that ByteFallback of the Rust library reads as bytes. */
const isByte = (token: string): boolean => /^<0x..?>$/u.test(token);

export class TextStream {
  readonly #tokenOf: (id: number) => string | undefined;
  readonly #decode: Decode;
  readonly #unstable: Unstable;
  /** The last tokens; the text of all earlier ones has been emitted. */
  #window: string[] = [];
  /** How much of the window's text has been emitted, in UTF-16 code units. */
  #sent = 0;

  constructor(tokenOf: (id: number) => string | undefined, decode: Decode, unstable: Unstable) {
    this.#tokenOf = tokenOf;
    this.#decode = decode;
    this.#unstable = unstable;
  }

  /** @returns the text that this token completes; often empty. */
  add(id: number): string {
    const token = this.#tokenOf(id);
    if (token === undefined) return '';
    this.#window.push(token);
    if (this.#unstable === 'everything') return '';
    if (this.#unstable === 'byte tokens' && isByte(token)) return '';
    const text = this.#decode(this.#window);
    const pending = this.#unstable === 'last character' && text.endsWith(REPLACEMENT) ? 1 : 0;
    const piece = this.#take(text.slice(0, text.length - pending));
    if (this.#window.length >= WINDOW) this.#move(text);
    return piece;
  }

  /** Call after the last token. @returns the rest of the text. */
  end(): string {
    return this.#take(this.#decode(this.#window));
  }

  #take(text: string): string {
    const piece = text.slice(this.#sent);
    this.#sent = Math.max(this.#sent, text.length);
    return piece;
  }

  /** Drops the tokens that later text does not depend on: the kept ones alone must give the end of the same text. */
  #move(text: string): void {
    const kept = this.#window.slice(-CONTEXT);
    const end = this.#decode(kept);
    // Without text of their own, the kept tokens may not yet be past what a decoder strips from the start.
    if (end === '' || !text.endsWith(end) || text.length - this.#sent > end.length) return;
    this.#sent = end.length - (text.length - this.#sent);
    this.#window = kept;
  }
}

type Json = Readonly<Record<string, unknown>>;

/** What a decoder of `tokenizer.json` leaves open. Null joins tokens with spaces and leaves nothing open. */
export function unstablePart(decoder: unknown): Unstable {
  let unstable: Unstable = 'nothing';
  /** All tokens are one text by now, so a pattern may match across them. */
  let fused = false;
  for (const step of steps(decoder)) {
    switch (step.type) {
      case 'Fuse':
        fused = true;
        break;
      case 'ByteLevel':
        // Joined tokens are read as bytes again, so what came before may change as a whole.
        if (fused || unstable === 'byte tokens') return 'everything';
        unstable = 'last character';
        fused = true;
        break;
      case 'ByteFallback':
        if (fused) return 'everything';
        unstable = 'byte tokens';
        break;
      case 'Replace':
        if (fused ? !isOneCharacter(step.pattern) : unstable === 'nothing' && !isSpace(step.content)) {
          return 'everything';
        }
        break;
      // Strips starts alone: the library fails on `stop`, so loading rejects it.
      case 'Strip':
        if (step.content === REPLACEMENT) return 'everything';
        break;
      case 'Metaspace':
        break;
      case 'WordPiece':
      case 'CTC':
        if (fused) return 'everything';
        break;
      // BPEDecoder treats the last token differently; a decoder we do not know may do anything.
      default:
        return 'everything';
    }
  }
  return unstable;
}

function* steps(decoder: unknown): Generator<Json> {
  if (decoder === null || decoder === undefined) return;
  const step = decoder as Json;
  if (step.type !== 'Sequence' || !Array.isArray(step.decoders)) yield step;
  else for (const inner of step.decoders) yield* steps(inner);
}

/** A single character is replaced the same way whatever its neighbours are. */
function isOneCharacter(pattern: unknown): boolean {
  const text = (pattern as Json | undefined)?.String;
  return typeof text === 'string' && [...text].length === 1 && text !== REPLACEMENT;
}

/** Such a replacement cannot make a byte token out of another token. */
const isSpace = (content: unknown): boolean => content === ' ' || content === '';
