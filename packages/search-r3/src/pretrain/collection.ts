/**
 * The base model of a collection: its tokenizer and its pre-training text. Part of the text is the documents, the rest
 * (`chatShare`) conversations in the form of the reasoning prompt: the user gives a title or a sentence of a document,
 * the assistant answers with its key terms or another of its sentences. So the base learns to follow the chat template
 * and to answer a query with related words. Stage 2 finds out which of them help retrieval.
 */
import type { PromptOverrides, TrainingPrompts } from '../checkpoint/index.js';
import { assertTexts, type Document, documentText } from '../dataset/index.js';
import { inTurns, type LongWorkOptions, type RandomStream, randomStream } from '../run/index.js';
import { type Tokenizer, trainByteLevelBpe } from '../tokenizer/index.js';
import { EpochSampler } from '../train/index.js';
import { sentencesOf } from './sentences.js';
import type { SequenceSource } from './trainer.js';

/** Short prompts: a model from scratch has to learn their meaning anyway, and every token of a prompt costs time. */
export const COLLECTION_PROMPTS: PromptOverrides = {
  query: { system: 'Represent the query.' },
  document: { system: 'Represent the document.' },
  reasoning: { system: 'Expand the query.' },
};

/**
 * Byte-level BPE on the corpus; the words of the prompts count once per document, so that they become tokens too.
 * @param work as for `trainByteLevelBpe`.
 */
export function collectionTokenizer(
  corpus: readonly Document[],
  prompts: TrainingPrompts,
  vocabSize: number,
  { lowercase = false } = {},
  work: LongWorkOptions = {},
): Promise<Tokenizer> {
  const { query, document, reasoning } = prompts;
  const answers = [query.assistant, document.assistant].map((text) => `assistant\n${text}`);
  const instructions = [query.system, document.system, reasoning.system].map((text) => `system\n${text}`);
  const around = [...instructions, 'user\n', ...answers];
  const texts = {
    length: corpus.length * (1 + around.length),
    *[Symbol.iterator](): Generator<string> {
      for (const entry of corpus) {
        yield documentText(entry);
        yield* around;
      }
    },
  };
  return trainByteLevelBpe(texts, { vocabSize, lowercase }, work);
}

export interface CollectionTextOptions {
  /** Sequences per step, each from a different document. */
  batchSize: number;
  /** Longest sequence in tokens; a longer document is cut into pieces, and a sequence is one of them. */
  maxLength: number;
  /** Share of conversations. */
  chatShare: number;
  seed: number;
}

/**
 * The sequences of pre-training, step by step.
 * @param work receives progress of the part `key terms`.
 * @throws InputError if a batch is larger than the corpus, or no document has a text; InterruptedError when aborted.
 */
export async function collectionSequences(
  corpus: readonly Document[],
  tokenizer: Tokenizer,
  prompts: TrainingPrompts,
  options: CollectionTextOptions,
  work: LongWorkOptions = {},
): Promise<SequenceSource> {
  assertTexts(corpus, 'corpus');
  const { batchSize, maxLength, chatShare, seed } = options;
  const sampler = new EpochSampler({ count: corpus.length, batchSize, seed, label: 'pretrain' });
  const terms = await keyTerms(corpus, work);
  const safe = (text: string) => tokenizer.escapeSpecialTokens(text);
  const boundary = (tokenizer.padId ?? tokenizer.eosId) as number;
  const text = (encoded: readonly number[], random: RandomStream): number[] => {
    const ids = [boundary, ...encoded, boundary];
    const pieces = Math.ceil(ids.length / maxLength);
    // Pieces of equal length, give or take one: a short last piece could be one token, with nothing to predict.
    const piece = random.integer(pieces);
    const cut = (i: number) => Math.floor((i * ids.length) / pieces);
    return ids.slice(cut(piece), cut(piece + 1));
  };
  const embedId = tokenizer.idOf(prompts.embedToken);
  const rendered = ({ user, assistant }: Conversation): string =>
    tokenizer.renderChat([
      { role: 'system', content: prompts.reasoning.system },
      { role: 'user', content: safe(user) },
      { role: 'assistant', content: safe(assistant) },
    ]);
  const chat = (ids: number[]): number[] => {
    // If the tokenizer has the embed token, it replaces the token that ends the turn.
    const end = embedId === undefined ? -1 : ids.lastIndexOf(tokenizer.eosId as number);
    return (end === -1 ? ids : [...ids.slice(0, end), embedId as number]).slice(0, maxLength);
  };
  return async (step) => {
    const random = randomStream(seed, 'pretrain', 'step', step);
    const documents = sampler.batch(step).map((i) => corpus[i] as Document);
    // How many draws a piece takes depends on the number of its tokens, so all are encoded before the first draw.
    const encoded = await tokenizer.encodeBatch(documents.map((document) => safe(documentText(document))));
    const drawn = documents.map((document, i) => {
      const talk = random.uniform() < chatShare ? conversation(document, terms, random) : undefined;
      return talk === undefined ? text(encoded[i] as number[], random) : rendered(talk);
    });
    const chats = await tokenizer.encodeBatch(drawn.filter((one) => typeof one === 'string'));
    return drawn.map((one) => (typeof one === 'string' ? chat(chats.shift() as number[]) : one));
  };
}

export interface Conversation {
  user: string;
  assistant: string;
}

/**
 * A title or a sentence of the document, answered by its key terms or another sentence; undefined if the document is
 * too short.
 */
export function conversation(
  document: Document,
  terms: KeyTerms,
  random: RandomStream,
): Conversation | undefined {
  const sentences = random.shuffle(sentencesOf(document.text));
  const title = document.title?.trim() ?? '';
  const fromTitle = title !== '' && random.uniform() < 0.5;
  const user = fromTitle ? title : sentences.shift();
  if (user === undefined) return undefined;
  const listed = terms(document, user).join(', ');
  const answers = [listed, sentences[0] ?? ''].filter((answer) => answer !== '');
  return answers.length === 0 ? undefined : { user, assistant: random.choice(answers) };
}

/** The words that distinguish a document, best first, without those of `known`. */
export type KeyTerms = (document: Document, known: string) => string[];

/** How many key terms an answer lists. */
const TERMS = 8;

/** Ranks words by tf ln(N / df) over the corpus (Salton and Buckley 1988); words in every document weigh nothing. */
export async function keyTerms(corpus: readonly Document[], work: LongWorkOptions = {}): Promise<KeyTerms> {
  const frequencies = new Map<string, number>();
  const count = (document: Document): void => {
    for (const word of new Set(wordsOf(documentText(document)))) {
      frequencies.set(word, (frequencies.get(word) ?? 0) + 1);
    }
  };
  await inTurns(corpus, { name: 'key terms', total: corpus.length }, count, work);
  return (document, known) => {
    const excluded = new Set(wordsOf(known));
    const weights = new Map<string, number>();
    for (const word of wordsOf(documentText(document))) {
      if (excluded.has(word)) continue;
      const idf = Math.log(corpus.length / (frequencies.get(word) ?? corpus.length));
      if (idf > 0) weights.set(word, (weights.get(word) ?? 0) + idf);
    }
    return [...weights]
      .sort(([, a], [, b]) => b - a)
      .slice(0, TERMS)
      .map(([word]) => word);
  };
}

/** Scripts without spaces; Korean has them. */
const UNSPACED =
  '(?=\\p{L})[\\p{scx=Han}\\p{scx=Hiragana}\\p{scx=Katakana}\\p{sc=Thai}\\p{sc=Lao}\\p{sc=Khmer}\\p{sc=Myanmar}]';
const spaced = (characters: string) => `(?:(?!${UNSPACED})[${characters}])`;
const WORD = new RegExp(
  `(?<run>(?:${UNSPACED}\\p{M}*)+)|` +
    `${spaced('\\p{L}')}${spaced('\\p{L}\\p{M}\\p{N}-')}*(?:${spaced('\\p{L}\\p{N}')}\\p{M}*){2}`,
  'gu',
);
const segmenter = new Intl.Segmenter('en', { granularity: 'word' });

/**
 * Lower-case words of at least three letters or digits, with inner hyphens. Scripts without spaces are cut by
 * dictionary, not into bigrams, because a model has to write these words; their words have at least two characters.
 */
function wordsOf(text: string): string[] {
  return Array.from(text.toLowerCase().matchAll(WORD)).flatMap(({ 0: word, groups }) =>
    groups?.run === undefined
      ? [word]
      : Array.from(segmenter.segment(word), ({ segment }) => segment).filter((part) => part.length >= 2),
  );
}
