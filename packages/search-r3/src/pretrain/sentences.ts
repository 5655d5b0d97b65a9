/** Splits text into sentences by the rules of Unicode (UAX 29), as the runtime implements them. */
const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

/** The sentences in order, trimmed, without empty ones. */
export function sentencesOf(text: string): string[] {
  return Array.from(segmenter.segment(text), ({ segment }) => segment.trim()).filter(
    (sentence) => sentence !== '',
  );
}
