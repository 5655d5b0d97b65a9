/** A tokenizer as Hugging Face folders hold it: text to ids, ids to text, conversations to text. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';
import {
  type ChatMessage,
  type ChatOptions,
  type ChatTemplate,
  compileChatTemplate,
} from './chat-template.js';
import {
  asLoaded,
  chatTemplate,
  readTokenizerFiles,
  SPECIAL_TOKEN_ROLES,
  type SpecialTokenRole,
  specialToken,
  type TokenizerFiles,
  vocabularySize,
  writeTokenizerFiles,
} from './files.js';
import { LibraryTokenizer } from './library.js';

const loadSchema = z.strictObject({
  /** Chat template for a folder that has none, `CHATML_TEMPLATE` for example; it is saved with the tokenizer. */
  defaultChatTemplate: z.string().optional(),
});

export type LoadTokenizerOptions = z.input<typeof loadSchema>;

export interface EncodeOptions {
  /** Add what the tokenizer's post-processor puts around a text (Llama's bos token). Default false. */
  addSpecialTokens?: boolean;
}

export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  skipSpecialTokens?: boolean;
}

export class Tokenizer {
  private library: LibraryTokenizer;
  private size: number;
  private template: ChatTemplate | undefined;

  private constructor(
    private files: TokenizerFiles,
    private readonly source: string,
    library = buildLibrary(files, source),
  ) {
    this.library = library;
    this.size = vocabularySize(files.tokenizer);
    const template = chatTemplate(files);
    if (template !== undefined) {
      const variables = SPECIAL_TOKEN_ROLES.flatMap((role) => {
        const token = specialToken(files, role);
        return token === undefined ? [] : [[role, token] as const];
      });
      this.template = compileChatTemplate(
        template.text,
        `${source}/${template.file}`,
        Object.fromEntries(variables),
      );
    }
  }

  /**
   * Reads the tokenizer of a folder.
   * @throws InputError on missing or garbled files, and on parts the library does not know.
   */
  static async load(folder: string, options: LoadTokenizerOptions = {}): Promise<Tokenizer> {
    const { defaultChatTemplate } = validate(loadSchema, options, 'tokenizer options');
    const files = await readTokenizerFiles(folder);
    if (defaultChatTemplate !== undefined && chatTemplate(files) === undefined) {
      files.config = { ...files.config, chat_template: defaultChatTemplate };
    }
    return new Tokenizer(files, folder);
  }

  /** A tokenizer from the contents of its files, which are taken as checked. */
  static fromFiles(files: TokenizerFiles, source: string): Tokenizer {
    return new Tokenizer(files, source);
  }

  /** A tokenizer equal to this one, to which tokens can be added without changing this one. */
  copy(): Tokenizer {
    return new Tokenizer(this.files, this.source, this.library);
  }

  /**
   * The ids of a text. Special tokens written out in it become their ids: see `escapeSpecialTokens`.
   * @throws InputError where the vocabulary has no token for a part of the text, and none for the unknown.
   */
  async encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    const [ids] = await this.encodeBatch([text], options);
    return ids as number[];
  }

  /** `encode` of many texts, in parallel. Rejects where one of them cannot be encoded. */
  async encodeBatch(
    texts: readonly string[],
    { addSpecialTokens = false }: EncodeOptions = {},
  ): Promise<number[][]> {
    try {
      return await this.library.encode(texts, addSpecialTokens);
    } catch (error) {
      throw new InputError({
        source: this.source,
        expected: 'a token for every part of the text, or an unknown token',
        found: messageOf(error),
      });
    }
  }

  /** The text of some ids. Ids without a token (spare rows of an embedding) are left out. */
  decode(ids: readonly number[], { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const special = skipSpecialTokens ? this.specialIds : undefined;
    const tokens = ids.flatMap((id) => (special?.has(id) ? [] : (this.library.tokenOf(id) ?? [])));
    return this.library.decode(tokens);
  }

  idOf(token: string): number | undefined {
    return this.library.idOf(token);
  }

  tokenOf(id: number): string | undefined {
    return this.library.tokenOf(id);
  }

  /** The highest id + 1, added tokens included: how many rows an embedding needs at least. */
  get vocabSize(): number {
    return this.size;
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
    const token = specialToken(this.files, role);
    return token === undefined ? undefined : this.idOf(token);
  }

  /** Ids of the tokens marked special: those `skipSpecialTokens` leaves out. */
  get specialIds(): ReadonlySet<number> {
    return new Set(this.specialTokens().map(({ id }) => id));
  }

  private specialTokens() {
    return (this.files.tokenizer.added_tokens ?? []).filter(({ special }) => special);
  }

  /**
   * Makes `token` a special token that is never split, with a new id where it has none. No-op where it is one already.
   * @returns its id.
   */
  addToken(token: string): number {
    const { tokenizer, config } = this.files;
    const added = tokenizer.added_tokens ?? [];
    const present = added.find(({ content }) => content === token);
    if (present?.special) return present.id;
    const id = this.idOf(token) ?? this.vocabSize;
    const flags = {
      content: token,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    };
    const files: TokenizerFiles = {
      ...this.files,
      tokenizer: {
        ...tokenizer,
        // The reference implementation numbers added tokens in this order, so a new one comes last.
        added_tokens: [...added.filter(({ content }) => content !== token), { id, ...flags }].sort(
          (a, b) => a.id - b.id,
        ),
      },
    };
    if (config.added_tokens_decoder !== undefined) {
      files.config = { ...config, added_tokens_decoder: { ...config.added_tokens_decoder, [id]: flags } };
    }
    this.library = buildLibrary(files, this.source);
    this.size = vocabularySize(files.tokenizer);
    this.files = files;
    return id;
  }

  /**
   * `text` with a space inside every special token that is written out in it, so that a document or query cannot end
   * its own turn or hold a second embed token.
   */
  escapeSpecialTokens(text: string): string {
    let escaped = text;
    for (const { content } of this.specialTokens()) {
      // A token of one character has no inside: it goes.
      const broken = content.length === 1 ? ' ' : `${content.slice(0, 1)} ${content.slice(1)}`;
      escaped = escaped.replaceAll(content, () => broken);
    }
    return escaped;
  }

  get hasChatTemplate(): boolean {
    return this.template !== undefined;
  }

  /**
   * A conversation as the text and ids the model was trained on.
   * @throws InputError without a chat template: there is no guessing what a model expects.
   */
  async applyChatTemplate(
    messages: readonly ChatMessage[],
    options: ChatOptions = {},
  ): Promise<{ text: string; ids: number[] }> {
    const text = this.renderChat(messages, options);
    return { text, ids: await this.encode(text) };
  }

  /** The text alone of `applyChatTemplate`. */
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

  /** Writes the files from which `load` makes an equal tokenizer. */
  save(folder: string): Promise<void> {
    return writeTokenizerFiles(folder, this.files);
  }

  /**
   * SHA-256, in hex, of all that decides ids: vocabulary, merges, added tokens and chat template. The same after saving
   * and loading.
   */
  fingerprint(): string {
    const content = [asLoaded(this.files.tokenizer), chatTemplate(this.files)?.text ?? null];
    return createHash('sha256').update(JSON.stringify(content)).digest('hex');
  }
}

function buildLibrary({ tokenizer }: TokenizerFiles, source: string): LibraryTokenizer {
  try {
    return new LibraryTokenizer(tokenizer);
  } catch (error) {
    throw new InputError({
      source: `${source}/tokenizer.json`,
      expected: 'what the tokenizers library reads',
      // Lines and columns are those of what the library was given.
      found: messageOf(error).replace(/ at line \d+ column \d+$/, ''),
    });
  }
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
