/** A tokenizer in the format of Hugging Face: converts text to ids, ids to text, and conversations to text. */
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
  asFolderFiles,
  asLoaded,
  chatTemplate,
  type FolderFiles,
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
  /** Chat template to use if the folder has none, for example `CHATML_TEMPLATE`. It is saved with the tokenizer. */
  defaultChatTemplate: z.string().optional(),
  /**
   * Use the pipeline of `tokenizer.json` even if `tokenizer_class` or `model_type` would make `AutoTokenizer` build a
   * different one. Default false, but tokenizers that this library saved are always read this way.
   */
  asWritten: z.boolean().default(false),
});

export type LoadTokenizerOptions = z.input<typeof loadSchema>;

export interface EncodeOptions {
  /** Add the tokens that the post-processor puts around a text (bos for Llama). Default false. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Omit special tokens. Default false. */
  skipSpecialTokens?: boolean;
}

export class Tokenizer {
  /** Notes on how this tokenizer differs from `tokenizer.json`. */
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
   * Reads the tokenizer of a folder as transformers' `AutoTokenizer` does. Its settings may be spread over
   * `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json`, and `config.json` may
   * affect how they are read.
   * @throws InputError if files are missing or invalid, contradict each other, or contain something that the library
   *   cannot read.
   */
  static async load(folder: string, options: LoadTokenizerOptions = {}): Promise<Tokenizer> {
    const { defaultChatTemplate, asWritten } = validate(loadSchema, options, 'tokenizer options');
    const read = await readTokenizerFiles(folder);
    return Tokenizer.merge(read, folder, { defaultChatTemplate, asWritten });
  }

  /**
   * Builds a tokenizer from JSON in memory as `load` does from a folder; the pipeline is that of `tokenizer`.
   * @param json what `tokenizer.json` and `tokenizer_config.json` would hold.
   * @param source names it in errors, in place of the folder.
   * @throws InputError as `load`.
   */
  static fromJson(
    json: { tokenizer: unknown; config: unknown },
    source: string,
    { defaultChatTemplate }: Pick<LoadTokenizerOptions, 'defaultChatTemplate'> = {},
  ): Tokenizer {
    return Tokenizer.merge(asFolderFiles(json, source), source, { defaultChatTemplate, asWritten: true });
  }

  private static merge(
    read: FolderFiles,
    source: string,
    { defaultChatTemplate, asWritten }: { defaultChatTemplate: string | undefined; asWritten: boolean },
  ): Tokenizer {
    const { files, notes } = mergeFiles(read, source, asWritten);
    if (defaultChatTemplate !== undefined && chatTemplate(files) === undefined) {
      files.config = { ...files.config, chat_template: defaultChatTemplate };
      files.templates = {};
    }
    return new Tokenizer(files, source, undefined, notes);
  }

  /** Creates a tokenizer from the contents of its files. They are not validated again. */
  static fromFiles(files: TokenizerFiles, source: string): Tokenizer {
    return new Tokenizer(files, source);
  }

  /** An independent copy: adding tokens to it does not change this tokenizer. */
  copy(): Tokenizer {
    return new Tokenizer(this.files, this.source, this.built, [...this.notes]);
  }

  /**
   * The ids of a text. Special tokens that are spelled out in the text become their ids; see `escapeSpecialTokens`.
   * @throws InputError if the vocabulary lacks a token for a part of the text and has no unknown token.
   */
  async encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    const [ids] = await this.encodeBatch([text], options);
    return ids as number[];
  }

  /** Encodes many texts in parallel. Rejects if one of them cannot be encoded. */
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

  /** The text of ids. Ids without a token (unused rows of an embedding) are omitted. */
  decode(ids: readonly number[], { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const special = skipSpecialTokens ? this.specialIds : undefined;
    const tokens = ids.flatMap((id) => (special?.has(id) ? [] : (this.built.library.tokenOf(id) ?? [])));
    return this.built.library.decode(tokens);
  }

  /** Decodes ids one at a time. Joined, the pieces equal `decode` of all ids. */
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

  /** The highest id + 1, including added tokens: the minimum number of rows of an embedding. */
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

  /** The ids of special tokens, which `skipSpecialTokens` omits. */
  get specialIds(): ReadonlySet<number> {
    return this.built.specialIds;
  }

  /**
   * Makes `token` a special token that is never split, with a new id if it has none. Does nothing if it is already
   * special.
   * @returns the id of the token.
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
        // The library assigns ids to added tokens in this order, so a new token comes last.
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
   * Puts a space inside every special token that `text` spells out, so that a document or query cannot end its own turn
   * or contain a second embed token.
   */
  escapeSpecialTokens(text: string): string {
    return this.built.escape(text);
  }

  get hasChatTemplate(): boolean {
    return this.template !== undefined;
  }

  /**
   * Renders a conversation in the format that the model was trained on.
   * @throws InputError if there is no chat template, because the format cannot be guessed.
   */
  async applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ChatOptions = {},
  ): Promise<{ text: string; ids: number[] }> {
    const text = this.renderChat(messages, options);
    return { text, ids: await this.encode(text) };
  }

  /** Returns only the text of `applyChatTemplate`. */
  renderChat(messages: readonly ChatMessage[], options: ChatOptions = {}): string {
    if (this.template === undefined) {
      throw new InputError({
        source: this.source,
        expected: 'a chat template in tokenizer_config.json or chat_template.jinja',
        found: 'none',
        remedy:
          'Base models often have none. Write one to chat_template.jinja in that folder, ' +
          'or pass Tokenizer.load the option defaultChatTemplate, for example CHATML_TEMPLATE.',
      });
    }
    return this.template.render(messages, options);
  }

  /** Writes the files. `load` restores an equal tokenizer from them. */
  save(folder: string): Promise<void> {
    return writeTokenizerFiles(folder, this.files);
  }

  /**
   * The SHA-256 hash, in hex, of everything that determines ids: vocabulary, merges, added tokens and chat template.
   * Saving and loading do not change it.
   */
  fingerprint(): string {
    const content = [asLoaded(this.files.tokenizer), chatTemplate(this.files)?.text ?? null];
    return createHash('sha256').update(JSON.stringify(content)).digest('hex');
  }
}

/** Values derived from the files. */
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
    const expected = `the id ${actual} for "${content}": added tokens get the ids after the vocabulary, in their order`;
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
      expected: 'a tokenizer that the tokenizers library can read',
      // The line and column refer to the JSON that was passed to the library, not to the file.
      found: messageOf(error).replace(/ at line \d+ column \d+$/, ''),
    });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
