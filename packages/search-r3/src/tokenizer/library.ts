/** The Rust `tokenizers` library, which defines the format of tokenizer.json. Python uses it too, so ids agree. */
import { type Decoder, type JsEncoding, Tokenizer } from 'tokenizers';

/** Texts encoded in one call. An encoding contains more than its ids, so encodings are dropped after each slice. */
const SLICE_TEXTS = 2048;
/** UTF-16 code units encoded in one call, unless a single text is longer. */
const SLICE_LENGTH = 4_000_000;

/** A tokenizer of the library. Encoding runs on the library's threads; the synchronous methods take microseconds. */
export class LibraryTokenizer {
  readonly #tokenizer: Tokenizer;
  readonly #decoder: Decoder | null;

  /**
   * @param json the contents of tokenizer.json. Truncation and padding are ignored, as in transformers. BPE dropout is
   *   also ignored, because it makes ids random.
   * @throws Error with the library's message.
   */
  constructor(json: { readonly model: object; readonly [part: string]: unknown }) {
    const model = 'dropout' in json.model ? { ...json.model, dropout: null } : json.model;
    this.#tokenizer = Tokenizer.fromString(
      JSON.stringify({ ...json, model, truncation: null, padding: null }),
    );
    this.#decoder = this.#tokenizer.getDecoder();
  }

  /** The ids of each text. Rejects with the library's message if a text cannot be encoded. */
  async encode(texts: readonly string[], addSpecialTokens: boolean): Promise<number[][]> {
    const ids: number[][] = [];
    for (const slice of slices(texts)) {
      // Rust strings cannot contain lone surrogates; the binding would turn one into several characters.
      const inputs = slice.map((text) => text.toWellFormed());
      for (const encoding of await this.#encode(inputs, addSpecialTokens)) ids.push(encoding.getIds());
    }
    return ids;
  }

  async #encode(inputs: string[], addSpecialTokens: boolean): Promise<JsEncoding[]> {
    const [only] = inputs;
    return inputs.length === 1 && only !== undefined
      ? [await this.#tokenizer.encode(only, null, { addSpecialTokens })]
      : this.#tokenizer.encodeBatch(inputs, { addSpecialTokens });
  }

  /** The text of tokens. Does the same as the library's `decode`, but synchronously. */
  decode(tokens: string[]): string {
    if (tokens.length === 0) return '';
    return this.#decoder === null ? tokens.join(' ') : this.#decoder.decode(tokens);
  }

  tokenOf(id: number): string | undefined {
    // The binding would convert any other number to 32 bits.
    if (!Number.isInteger(id) || id < 0 || id > 0xffffffff) return undefined;
    return this.#tokenizer.idToToken(id) ?? undefined;
  }

  idOf(token: string): number | undefined {
    return this.#tokenizer.tokenToId(token.toWellFormed()) ?? undefined;
  }

  /** A function that normalizes a text; undefined if there is no normalizer. */
  normalizer(): ((text: string) => string) | undefined {
    const normalizer = this.#tokenizer.getNormalizer();
    return normalizer === null ? undefined : (text) => normalizer.normalizeString(text.toWellFormed());
  }

  /** A function that normalizes a text and splits it into the words that the model receives. */
  words(): (text: string) => string[] {
    const normalize = this.normalizer();
    const preTokenizer = this.#tokenizer.getPreTokenizer();
    return (text) => {
      const normalized = normalize?.(text) ?? text.toWellFormed();
      if (preTokenizer === null) return [normalized];
      return preTokenizer.preTokenizeString(normalized).map(([word]) => word);
    };
  }
}

function* slices(texts: readonly string[]): Generator<string[]> {
  let slice: string[] = [];
  let length = 0;
  for (const text of texts) {
    if (slice.length === SLICE_TEXTS || (slice.length > 0 && length + text.length > SLICE_LENGTH)) {
      yield slice;
      slice = [];
      length = 0;
    }
    slice.push(text);
    length += text.length;
  }
  if (slice.length > 0) yield slice;
}
