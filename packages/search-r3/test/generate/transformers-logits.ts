/**
 * The logits processors of transformers 5 by their definitions (generation/logits_process.py), in float64:
 * RepetitionPenalty, Temperature, TopK, TopP and MinP, in the order in which `generate` applies them.
 */

export interface Settings {
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
}

export function softmaxOf(scores: readonly number[]): number[] {
  const best = Math.max(...scores);
  const exponentials = scores.map((score) => Math.exp(score - best));
  const total = exponentials.reduce((a, b) => a + b, 0);
  return exponentials.map((value) => value / total);
}

/** What is left of the scores; -Infinity for what is not. */
export function processed(scores: readonly number[], seen: readonly number[], settings: Settings): number[] {
  const { temperature = 1, topK = 0, topP = 1, minP = 0, repetitionPenalty = 1 } = settings;
  let row = scores.map((score, token) => {
    if (!seen.includes(token)) return score;
    return score < 0 ? score * repetitionPenalty : score / repetitionPenalty;
  });
  row = row.map((score) => score / temperature);
  if (topK > 0) {
    const least = [...row].sort((a, b) => b - a)[Math.min(topK, row.length) - 1]!;
    row = row.map((score) => (score < least ? -Infinity : score));
  }
  if (topP < 1) {
    // Ascending; what is removed has together at most 1 - topP, and the best token stays.
    const order = [...row.keys()].sort((a, b) => row[a]! - row[b]!);
    const probabilities = softmaxOf(row);
    let below = 0;
    const removed = new Set<number>();
    for (const token of order.slice(0, -1)) {
      below += probabilities[token]!;
      if (below <= 1 - topP) removed.add(token);
    }
    row = row.map((score, token) => (removed.has(token) ? -Infinity : score));
  }
  if (minP > 0) {
    const probabilities = softmaxOf(row);
    const least = minP * Math.max(...probabilities);
    row = row.map((score, token) => (probabilities[token]! < least ? -Infinity : score));
  }
  return row;
}

/** The ids that truncation leaves, ascending. */
export const allowedTokens = (scores: readonly number[], settings: Settings): number[] =>
  processed(scores, [], settings).flatMap((score, token) => (score === -Infinity ? [] : [token]));
