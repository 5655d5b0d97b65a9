/**
 * Does the reasoning carry the gain? Texts in place of the model's reasoning that keep one property of it and lose the
 * others: its words, its length, or that it is about some query.
 */
import { type RandomStream, randomStream } from '../run/index.js';

export const CONTROLS = ['shuffled', 'other', 'filler', 'repeated'] as const;

/**
 * `shuffled`: the words of the reasoning in random order. `other`: the reasoning about another query. `filler`: as many
 * words that say nothing. `repeated`: the query again, up to as many words.
 */
export type Control = (typeof CONTROLS)[number];

/** What the model wrote about a query. */
export interface Reasoned {
  query: string;
  reasoning: string;
}

const FILLER = 'and so on and then more of the same as it was before'.split(' ');

const wordsOf = (text: string): string[] => text.split(/\s+/).filter((word) => word !== '');

/** The texts of a control, in the order of the queries. `other` needs two queries. */
export function controlTexts(control: Control, reasoned: readonly Reasoned[], seed: number): string[] {
  const random = randomStream(seed, 'control', control);
  switch (control) {
    case 'shuffled':
      return reasoned.map(({ reasoning }) => random.shuffle(wordsOf(reasoning)).join(' '));
    case 'other':
      return derangement(reasoned.length, random).map((at) => reasoned[at]?.reasoning ?? '');
    case 'filler':
      return reasoned.map(({ reasoning }) => upTo(FILLER, wordsOf(reasoning).length));
    case 'repeated':
      return reasoned.map(({ query, reasoning }) => upTo(wordsOf(query), wordsOf(reasoning).length));
    default:
      return control satisfies never;
  }
}

/** So many of the words, from the first again after the last. */
const upTo = (words: readonly string[], count: number): string =>
  Array.from({ length: words.length === 0 ? 0 : count }, (_, i) => words[i % words.length]).join(' ');

/** Another place for each of 0 to n - 1: a random cycle (Sattolo 1986). */
function derangement(n: number, random: RandomStream): number[] {
  const places = Array.from({ length: n }, (_, i) => i);
  for (let i = n - 1; i > 0; i--) {
    const j = random.integer(i);
    [places[i], places[j]] = [places[j] as number, places[i] as number];
  }
  return places;
}

/** What a control scored, as a paired comparison with the reasoned vectors. */
export interface ControlScore {
  control: Control;
  /** nDCG@10. */
  score: number;
  /** Share of the gain over direct vectors that it keeps; null where there is no gain. */
  kept: number | null;
  /** Two-sided, of the difference to the reasoned vectors. */
  p: number;
}

export type Verdict = 'reasoning' | 'length' | 'prompt' | 'part' | 'none';

/** Below this share of the gain a control has lost it; above the other it has kept it. */
const [LOST, KEPT] = [1 / 3, 2 / 3];

/**
 * What the gain of reasoned over direct vectors is due to. `none`: it is not above 0 with p below 0.05. `length`: filler
 * keeps two thirds of it. `prompt`: the reasoning about another query or the query again does. `reasoning`: each of the
 * three loses two thirds. `part`: anything between. Shuffled words say whether order matters, and decide nothing.
 */
export function verdictOf(
  gain: { difference: number; p: number },
  controls: readonly Pick<ControlScore, 'control' | 'kept'>[],
): Verdict {
  if (gain.difference <= 0 || gain.p >= 0.05) return 'none';
  const kept = (control: Control) => controls.find((one) => one.control === control)?.kept ?? 1;
  if (kept('filler') >= KEPT) return 'length';
  if (kept('other') >= KEPT || kept('repeated') >= KEPT) return 'prompt';
  const lost = (['filler', 'other', 'repeated'] as const).every((control) => kept(control) <= LOST);
  return lost ? 'reasoning' : 'part';
}
