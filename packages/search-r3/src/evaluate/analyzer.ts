/** Turns the texts of a collection into terms, for BM25 and everything else that compares words. */
import { codeTerms } from './code-terms.js';
import { englishTerms } from './english-terms.js';
import { areCode } from './looks-like-code.js';
import type { AnalyzerChoice, AnalyzerKind } from './names.js';
import { type SegmentedScript, unspacedScripts } from './words.js';

export interface Analyzer {
  kind: AnalyzerKind;
  /** Text -> terms, for documents and queries alike. */
  terms: (text: string) => string[];
}

/** An analyzer for these documents; `auto` decides from some of them. */
export function analyzerFor(documents: readonly string[], choice: AnalyzerChoice = 'auto'): Analyzer {
  const kind = choice === 'auto' ? (areCode(documents) ? 'code' : 'text') : choice;
  switch (kind) {
    case 'text':
      return { kind, terms: englishTerms() };
    case 'code':
      return { kind, terms: codeTerms() };
    default:
      return kind satisfies never;
  }
}

/** How texts were cut into terms, for reports. */
export interface TextAnalysis {
  kind: AnalyzerKind;
  /** Whether some text is Chinese, Japanese or Korean, which is cut into bigrams. */
  bigrams: boolean;
  /** The scripts that were cut with a dictionary. */
  dictionary: SegmentedScript[];
}

/** How `kind` cuts these texts. */
export function textAnalysis(kind: AnalyzerKind, texts: Iterable<string>): TextAnalysis {
  const dictionary = new Set<SegmentedScript>();
  let bigrams = false;
  for (const text of texts) {
    const { cjk, segmented } = unspacedScripts(text);
    bigrams ||= cjk;
    for (const script of segmented) dictionary.add(script);
  }
  return { kind, bigrams, dictionary: [...dictionary] };
}

/** Describes an analysis in a few words. */
export function describeAnalysis({ kind, bigrams, dictionary }: TextAnalysis): string {
  return [
    'words without English stop words and endings',
    ...(kind === 'code' ? ['identifiers whole and split'] : []),
    ...(bigrams ? ['Chinese, Japanese and Korean in bigrams'] : []),
    ...(dictionary.length > 0 ? [`${dictionary.join(', ')} by dictionary`] : []),
  ].join('; ');
}
