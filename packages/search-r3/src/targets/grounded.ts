/**
 * Reasoning made from the relevant document, without a larger model. Such a target gives its document away: at test time
 * the model can only guess what it says, so the contrastive terms should see the model's own reasoning too.
 */
import { documentText } from '../dataset/index.js';
import { type AnalyzerChoice, analyzerFor, Bm25Index, wordsIn } from '../evaluate/index.js';
import { type KeyTerms, keyTerms } from '../pretrain/collection.js';
import { sentencesOf } from '../pretrain/sentences.js';
import { randomStream } from '../run/index.js';
import { type GroundedStyle, positivesOf, type TrainingQuery } from '../sft/index.js';
import { Definitions, type Terms } from './definitions.js';

/** Most sentences that define. */
const DEFINITIONS = 2;

export interface GroundedOptions {
  styles: readonly GroundedStyle[];
  seed: number;
}

/** What is written for a query: in which style, and its text. */
export interface Grounded {
  style: GroundedStyle;
  reasoning: string;
}

/** Writes grounded reasoning about the documents of one corpus. */
export class GroundedWriter {
  readonly #terms: Terms;
  readonly #keyTerms: KeyTerms;
  readonly #definitions: Definitions | undefined;
  readonly #options: GroundedOptions;

  private constructor(
    terms: Terms,
    salient: KeyTerms,
    definitions: Definitions | undefined,
    options: GroundedOptions,
  ) {
    this.#terms = terms;
    this.#keyTerms = salient;
    this.#definitions = definitions;
    this.#options = options;
  }

  /** @param corpus the texts of all documents. @throws InterruptedError when aborted. */
  static async create(
    corpus: readonly string[],
    options: GroundedOptions,
    { analyzer = 'auto', signal }: { analyzer?: AnalyzerChoice; signal?: AbortSignal | undefined } = {},
  ): Promise<GroundedWriter> {
    const { terms } = analyzerFor(corpus, analyzer);
    const documents = corpus.map((text, i) => ({ id: String(i), text }));
    const salient = await keyTerms(documents, signal === undefined ? {} : { signal });
    const defines = options.styles.includes('definitions');
    return new GroundedWriter(terms, salient, defines ? new Definitions(corpus, terms) : undefined, options);
  }

  /**
   * In a style that is drawn by seed and query id; where it has nothing to say, in another one. Undefined where none has.
   * @param document text of a document by its id; one that answers the query is drawn.
   */
  write(query: TrainingQuery, document: (id: string) => string): Grounded | undefined {
    const { styles, seed } = this.#options;
    const random = randomStream(seed, 'targets', 'grounded', query.id);
    const text = document(random.choice(positivesOf(query)));
    for (const style of random.shuffle(styles)) {
      const reasoning = this.#inStyle(style, query.text, text);
      if (reasoning !== undefined) return { style, reasoning };
    }
    return undefined;
  }

  #inStyle(style: GroundedStyle, query: string, document: string): string | undefined {
    switch (style) {
      case 'terms': {
        const words = this.#salient(document, query);
        return words.length === 0 ? undefined : `Key terms: ${listed(words)}.`;
      }
      case 'sentence':
        return nearestSentence(query, document, this.#terms);
      case 'definitions': {
        const sentences = this.#definitions?.of(query, DEFINITIONS) ?? [];
        return sentences.length === 0 ? undefined : sentences.join(' ');
      }
      default:
        return style satisfies never;
    }
  }

  /** Key terms of a document as it spells them, in its order. No form of a word of the query is among them. */
  #salient(document: string, query: string): string[] {
    const asked = new Set(this.#terms(query));
    const forms = wordsIn(document).filter((word) => this.#terms(word).some((term) => asked.has(term)));
    return this.#keyTerms({ id: '', text: document }, [query, ...forms].join(' '))
      .map((word) => firstUse(word, document))
      .sort((a, b) => a.at - b.at)
      .map(({ word }) => word);
  }
}

/** Where a word first stands in a text, and as what: key terms are in lower case. */
function firstUse(word: string, text: string): { at: number; word: string } {
  const whole = new RegExp(`(?<![\\p{L}\\p{N}])${word}(?![\\p{L}\\p{N}])`, 'iu').exec(text);
  return whole === null
    ? { at: text.toLowerCase().indexOf(word), word }
    : { at: whole.index, word: whole[0] };
}

/** `a`, `a and b`, `a, b and c`. */
function listed(words: readonly string[]): string {
  const [last = '', ...before] = words.toReversed();
  return before.length === 0 ? last : `${before.toReversed().join(', ')} and ${last}`;
}

/** The sentence of a document that BM25 finds first among its sentences; undefined where none shares a term. */
function nearestSentence(query: string, document: string, terms: Terms): string | undefined {
  const sentences = sentencesOf(document).map((text, i) => ({ id: String(i), text }));
  if (sentences.length === 0) return undefined;
  const [best] = Bm25Index.build(sentences, { terms }).search(query, 1);
  const sentence = sentences.find(({ id }) => id === best?.id);
  return sentence && documentText(sentence);
}
