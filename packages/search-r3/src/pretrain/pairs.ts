/**
 * Pairs of related texts, from a collection without judgements: a title and its text, or a sentence and its document
 * (the inverse cloze task, Lee et al. 2019, arXiv 1906.00300). The sentence is removed from the document: otherwise the
 * model would only learn to match it.
 */
import { directPrompts, type PromptIds, type Prompts } from '../checkpoint/index.js';
import { type Document, documentText, sameTexts } from '../dataset/index.js';
import { type RandomStream, randomStream } from '../run/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { EpochSampler } from '../train/index.js';
import { sentencesOf } from './sentences.js';
import type { PairSource } from './trainer.js';

/** Share of pairs whose query is the title, if the document has one. */
const TITLES = 0.25;
/** Characters of a passage per token of the limit: more would be cut off anyway. */
const CHARACTERS = 8;

export interface PairOptions {
  /** Pairs per step, each from a different document. */
  batchSize: number;
  /** Longest query or document in tokens of its whole prompt. */
  maxLength: number;
  seed: number;
}

/**
 * The pairs of each step, prompted; each document once per epoch.
 * @throws InputError if a batch is larger than the corpus.
 */
export function collectionPairs(
  corpus: readonly Document[],
  tokenizer: Tokenizer,
  prompts: Prompts,
  { batchSize, maxLength, seed }: PairOptions,
): PairSource {
  const sampler = new EpochSampler({ count: corpus.length, batchSize, seed, label: 'pretrain pairs' });
  const limit = { maxTokens: maxLength };
  const same = sameTexts(corpus.map((document) => [document.id, documentText(document)]));
  return async (step) => {
    const random = randomStream(seed, 'pretrain', 'pairs', step);
    const drawn = sampler.batch(step).map((i) => corpus[i] as Document);
    const pairs = drawn.map((document) => textPair(document, random, CHARACTERS * maxLength));
    const prompted = (role: 'query' | 'document') =>
      directPrompts(
        tokenizer,
        prompts,
        pairs.map((pair) => pair[role]),
        role,
        limit,
      );
    const [queries, documents] = await Promise.all([prompted('query'), prompted('document')]);
    return drawn.map(({ id }, i) => ({
      // Equal texts under several ids are one document here: no pair is a negative of the other.
      id: same(id)?.[0] ?? id,
      query: (queries[i] as PromptIds).ids,
      document: (documents[i] as PromptIds).ids,
    }));
  };
}

/**
 * A title and a passage of its text, or a sentence and the title with a passage without that sentence. A document of a
 * single sentence without a title is paired with itself.
 * @param characters a passage ends with the sentence that reaches this length.
 */
export function textPair(
  { title = '', text }: Document,
  random: RandomStream,
  characters: number,
): { query: string; document: string } {
  const sentences = sentencesOf(text);
  const heading = title.trim();
  const passage = (from: number, without: number): string => {
    const parts: string[] = [];
    for (let i = from, length = 0; i < sentences.length && length < characters; i++) {
      if (i === without) continue;
      parts.push(sentences[i] as string);
      length += (sentences[i] as string).length + 1;
    }
    return parts.join(' ');
  };
  if (sentences.length === 0) return { query: heading, document: heading };
  const drawn = random.integer(sentences.length);
  if (heading !== '' && (sentences.length === 1 || random.uniform() < TITLES)) {
    return { query: heading, document: passage(drawn, -1) };
  }
  const query = sentences[drawn] as string;
  // Half of the passages start at the beginning, as documents do later; the others start at the sentence.
  const rest = passage(random.uniform() < 0.5 ? 0 : drawn, drawn);
  const document = `${heading} ${rest}`.trim();
  return { query, document: document === '' ? query : document };
}
