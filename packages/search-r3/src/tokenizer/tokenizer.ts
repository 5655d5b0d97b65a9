/** A tokenizer as Hugging Face folders hold it: text to ids, ids to text, conversations to text. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import { asAddedToken } from './added-tokens.js';
import {
  type ChatMessage,
  type ChatOptions,
  type ChatTemplate,
  compileChatTemplate,
} from './chat-template.js';
import { makeEscape } from './escape.js';
import { refuseFatalParts } from './fatal-parts.js';
import {
  asLoaded,
  chatTemplate,
  readTokenizerFiles,
  type SpecialTokenRole,
  type TokenizerFiles,
  vocabularyEntries,
  writeTokenizerFiles,
} from './files.js';
import { LibraryTokenizer } from './library.js';
import { mergeFiles } from './merging.js';
import { TextStream, unstablePart } from './text-stream.js';

const loadSchema = z.strictObject({
  /** Chat template for a folder without one, for example `CHATML_TEMPLATE`. It is saved with the tokenizer. */
  defaultChatTemplate: z.string().optional(),
  /**
   * Use the pipeline of `tokenizer.json` even if `AutoTokenizer` would build another one because of `tokenizer_class` or
   * `model_type`. Default false; tokenizers saved by this library are always read this way.
   */
  asWritten: z.boolean().default(false),
});

export type LoadTokenizerOptions = z.input<typeof loadSchema>;

export interface EncodeOptions {
  /** Add the tokens that the post-processor puts around a text (bos for Llama). Default false. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  skipSpecialTokens?: boolean;
}

export class Tokenizer {
  /** Notes on what differs from `tokenizer.json`. */
  readonly notes: readonly string[];
  private files: TokenizerFiles;
  private readonly source: string;
  private built: Built;
  private readonly template: ChatTemplate | undefined;

  private constructor(
    files: TokenizerFiles,
    source: string,
    built = build(files, source),
    notes: string[] = [],
  ) {
    this.files = files;
    this.source = source;
    this.built = built;
    this.notes = notes;
    const template = chatTemplate(files);
    if (template !== undefined) {
      this.template = compileChatTemplate(template.text, `${source}/${template.file}`, files.named);
    }
  }

  /**
   * Reads the tokenizer of a folder as transformers' `AutoTokenizer` does: its settings may be spread over
   * `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, and `config.json` may
   * decide how they are read.
   * @throws InputError if files are missing or invalid, contradict each other, or hold something the library does not
   *   read.
   */
  static async load(folder: string, options: LoadTokenizerOptions = {}): Promise<Tokenizer> {
    const { defaultChatTemplate, asWritten } = validate(loadSchema, options, 'tokenizer options');
    const { files, notes } = mergeFiles(await readTokenizerFiles(folder), folder, asWritten);
    if (defaultChatTemplate !== undefined && chatTemplate(files) === undefined) {
      files.config = { ...files.config, chat_template: defaultChatTemplate };
      files.templates = {};
    }
    return new Tokenizer(files, folder, undefined, notes);
  }

  /** A tokenizer from the contents of its files, which are not checked again. */
  static fromFiles(files: TokenizerFiles, source: string): Tokenizer {
    return new Tokenizer(files, source);
  }

  /** A tokenizer equal to this one, to which tokens can be added without changing this one. */
  copy(): Tokenizer {
    return new Tokenizer(this.files, this.source, this.built, [...this.notes]);
  }

  /**
   * The ids of a text. Special tokens written out in it become their ids: see `escapeSpecialTokens`.
   * @throws InputError if the vocabulary has neither a token for a part of the text nor an unknown token.
   */
  async encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    const [ids] = await this.encodeBatch([text], options);
    return ids as number[];
  }

  /** `encode` of many texts, in parallel. Rejects if one of them cannot be encoded. */
  async encodeBatch(
    texts: readonly string[],
    { addSpecialTokens = false }: EncodeOptions = {},
  ): Promise<number[][]> {
    try {
      return await this.built.library.encode(texts, addSpecialTokens);
    } catch (error) {
      throw new InputError({
        source: this.source,
        expected: 'a token for every part of the text, or an unknown token',
        found: messageOf(error),
      });
    }
  }

  /** The text of ids. Ids without a token (spare rows of an embedding) are left out. */
  decode(ids: readonly number[], { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const special = skipSpecialTokens ? this.specialIds : undefined;
    const tokens = ids.flatMap((id) => (special?.has(id) ? [] : (this.built.library.tokenOf(id) ?? [])));
    return this.built.library.decode(tokens);
  }

  /** Decodes ids one at a time; the pieces add up to `decode` of all of them. */
  stream(): TextStream {
    const { library } = this.built;
    const unstable = unstablePart(this.files.tokenizer.decoder);
    return new TextStream(
      (id) => library.tokenOf(id),
      (tokens) => library.decode(tokens),
      unstable,
    );
  }

  idOf(token: string): number | undefined {
    return this.built.library.idOf(token);
  }

  tokenOf(id: number): string | undefined {
    return this.built.library.tokenOf(id);
  }

  /** The highest id + 1, added tokens included: how many rows an embedding needs at least. */
  get vocabSize(): number {
    return this.built.size;
  }

  get bosId(): number | undefined {
    return this.roleId('bos_token');
  }

  get eosId(): number | undefined {
    return this.roleId('eos_token');
  }

  get padId(): number | undefined {
    return this.roleId('pad_token');
  }

  get unkId(): number | undefined {
    return this.roleId('unk_token');
  }

  private roleId(role: SpecialTokenRole): number | undefined {
    const token = this.files.named[role];
    return token === undefined ? undefined : this.idOf(token);
  }

  /** Ids of the tokens marked special: those `skipSpecialTokens` leaves out. */
  get specialIds(): ReadonlySet<number> {
    return this.built.specialIds;
  }

  /**
   * Makes `token` a special token that is never split, with a new id if it has none. Does nothing if it is one already.
   * @returns its id.
   */
  addToken(token: string): number {
    const { tokenizer, config } = this.files;
    const present = tokenizer.added_tokens.find(({ content }) => content === token);
    if (present?.special) return present.id;
    const id = this.idOf(token) ?? this.vocabSize;
    const added = asAddedToken(token, { special: true });
    const files: TokenizerFiles = {
      ...this.files,
      tokenizer: {
        ...tokenizer,
        // The library numbers added tokens in this order, so a new one comes last.
        added_tokens: [
          ...tokenizer.added_tokens.filter(({ content }) => content !== token),
          { id, ...added },
        ].sort((a, b) => a.id - b.id),
      },
    };
    if (config.added_tokens_decoder !== undefined) {
      files.config = {
        ...config,
        added_tokens_decoder: { ...config.added_tokens_decoder, [id]: { ...added } },
      };
    }
    this.built = build(files, this.source);
    this.files = files;
    return id;
  }

  /**
   * `text` with a space inside every special token that it spells out, so that a document or query cannot end its own
   * turn or contain a second embed token.
   */
  escapeSpecialTokens(text: string): string {
    return this.built.escape(text);
  }

  get hasChatTemplate(): boolean {
    return this.template !== undefined;
  }

  /**
   * A conversation as the text and ids the model was trained on.
   * @throws InputError without a chat template: a model's format cannot be guessed.
   */
  async applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ChatOptions = {},
  ): Promise<{ text: string; ids: number[] }> {
    const text = this.renderChat(messages, options);
    return { text, ids: await this.encode(text) };
  }

  /** Only the text of `applyChatTemplate`. */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    if (this.template === undefined) {
      throw new InputError({
        source: this.source,
        expected: 'a chat template in tokenizer_config.json or chat_template.jinja',
        found: 'none',
        remedy:
          'Base models often have none: write one to chat_template.jinja there, ' +
          'or give Tokenizer.load the option defaultChatTemplate (CHATML_TEMPLATE is one).',
      });
    }
    return this.template.render(messages, options);
  }

  /** Writes the files; `load` gives an equal tokenizer back. */
  save(folder: string): Promise<void> {
    return writeTokenizerFiles(folder, this.files);
  }

  /**
   * SHA-256, in hex, of everything that decides ids: vocabulary, merges, added tokens and chat template. Saving and
   * loading does not change it.
   */
  fingerprint(): string {
    const content = [asLoaded(this.files.tokenizer), chatTemplate(this.files)?.text ?? null];
    return createHash('sha256').update(JSON.stringify(content)).digest('hex');
  }
}

/** What follows from the files. */
interface Built {
  library: LibraryTokenizer;
  /** The highest id + 1. */
  size: number;
  specialIds: ReadonlySet<number>;
  escape: (text: string) => string;
}

function build({ tokenizer }: TokenizerFiles, folder: string): Built {
  const source = `${folder}/tokenizer.json`;
  refuseFatalParts(tokenizer, source);
  const library = buildLibrary(tokenizer, source);
  const vocabulary = new Map(vocabularyEntries(tokenizer.model.vocab, source) as [string, number][]);
  let highest = -1;
  for (const id of vocabulary.values()) highest = Math.max(highest, id);
  for (const { content, id } of tokenizer.added_tokens) {
    highest = Math.max(highest, id);
    const actual = library.idOf(content);
    if (actual === id) continue;
    const expected = `the id ${actual} of "${content}": added tokens are numbered in their order, on top of the vocabulary`;
    throw new InputError({ source, field: 'added_tokens', expected, found: String(id) });
  }
  const special = tokenizer.added_tokens.filter(({ special }) => special);
  return {
    library,
    size: highest + 1,
    specialIds: new Set(special.map(({ id }) => id)),
    escape: makeEscape({
      special,
      normalize: library.normalizer(),
      inModel: (token) => vocabulary.has(token),
    }),
  };
}

function buildLibrary(tokenizer: TokenizerFiles['tokenizer'], source: string): LibraryTokenizer {
  try {
    return new LibraryTokenizer(tokenizer);
  } catch (error) {
    throw new InputError({
      source,
      expected: 'what the tokenizers library reads',
      // Lines and columns refer to the JSON that the library was given.
      found: messageOf(error).replace(/ at line \d+ column \d+$/, ''),
    });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
