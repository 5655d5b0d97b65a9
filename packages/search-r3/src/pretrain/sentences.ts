/** Sentences of a text, by the rules of Unicode (UAX 29) as the runtime implements them. */
const segmenter = new Intl.Segmenter('en', { granularity: 'sentence' });

/** In order, without the white space around them; none is empty. */
export function sentencesOf(text: string): string[] {
  return Array.from(segmenter.segment(text), ({ segment }) => segment.trim()).filter(
    (sentence) => sentence !== '',
  );
}
