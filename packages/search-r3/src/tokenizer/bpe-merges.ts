/**
 * Learns byte-pair merges with incremental counts: a merge visits only the words that contain the pair. A heap
 * yields the next pair. The count of a pair in the heap is updated only when the pair reaches the top.
 */
import { inTurns, type LongWorkOptions } from '../run/turns.js';

export interface LearnedMerges {
  /** The alphabet, followed by the merged tokens in the order in which they were learned. */
  tokens: string[];
  merges: [string, string][];
}

interface Word {
  symbols: number[];
  readonly count: number;
}

/** Packs a pair of token ids into one number, far below 2^53 for any vocabulary that fits in memory. */
const SHIFT = 2 ** 24;
const key = (left: number, right: number) => left * SHIFT + right;

/**
 * Merges pairs until there are `limit` tokens or no pair is left.
 * @param words each distinct word and its count. `alphabet` must contain all characters of the words.
 */
export async function learnMerges(
  words: Iterable<readonly [string, number]>,
  alphabet: readonly string[],
  limit: number,
  work: LongWorkOptions = {},
): Promise<LearnedMerges> {
  const tokens = [...alphabet];
  const ids = new Map(tokens.map((token, id) => [token, id]));
  const state = new PairCounts(words, ids);
  const merges: [string, string][] = [];
  const learned = new Set<number>();
  function* mostFrequent(): Generator<number> {
    while (tokens.length < limit) {
      const pair = state.mostFrequent();
      if (pair === undefined) break;
      yield pair;
    }
  }
  const merge = (pair: number): void => {
    const left = Math.floor(pair / SHIFT);
    const right = pair % SHIFT;
    const parts: [string, string] = [tokens[left] as string, tokens[right] as string];
    const merged = parts.join('');
    // Pairs that produce the same token share its id, so a pair can reappear after its merge. One rule is enough.
    let id = ids.get(merged);
    if (id === undefined) {
      id = tokens.length;
      tokens.push(merged);
      ids.set(merged, id);
    }
    if (!learned.has(pair)) merges.push(parts);
    learned.add(pair);
    state.merge(left, right, id);
  };
  const part = {
    name: 'vocabulary',
    total: limit - alphabet.length,
    done: () => tokens.length - alphabet.length,
  };
  await inTurns(mostFrequent(), part, merge, work);
  return { tokens, merges };
}

class PairCounts {
  private readonly words: Word[] = [];
  private readonly counts = new Map<number, number>();
  /** Words that contained the pair when it was counted. Some may no longer contain it. */
  private readonly holders = new Map<number, Set<number>>();
  private readonly heap: Heap;

  constructor(words: Iterable<readonly [string, number]>, ids: ReadonlyMap<string, number>) {
    for (const [text, count] of words) {
      const symbols = Array.from(text, (character) => ids.get(character) as number);
      const index = this.words.push({ symbols, count }) - 1;
      for (let i = 1; i < symbols.length; i++) {
        this.change(key(symbols[i - 1] as number, symbols[i] as number), count, index);
      }
    }
    this.heap = new Heap([...this.counts].map(([pair, count]) => ({ pair, count })));
  }

  private change(pair: number, delta: number, word: number): void {
    this.counts.set(pair, (this.counts.get(pair) ?? 0) + delta);
    if (delta <= 0) return;
    const holders = this.holders.get(pair);
    if (holders === undefined) this.holders.set(pair, new Set([word]));
    else holders.add(word);
  }

  /** Removes and returns the most frequent pair; undefined if none is left. */
  mostFrequent(): number | undefined {
    for (;;) {
      const top = this.heap.pop();
      if (top === undefined) return undefined;
      const count = this.counts.get(top.pair) ?? 0;
      if (count <= 0) continue;
      if (count === top.count) return top.pair;
      this.heap.push({ pair: top.pair, count });
    }
  }

  /** Replaces the pair with `id` in every word, from left to right. */
  merge(left: number, right: number, id: number): void {
    const pair = key(left, right);
    const grown = new Set<number>();
    for (const index of this.holders.get(pair) ?? []) this.mergeWord(index, left, right, id, grown);
    this.counts.delete(pair);
    this.holders.delete(pair);
    for (const other of grown) {
      const count = this.counts.get(other) ?? 0;
      if (count > 0) this.heap.push({ pair: other, count });
    }
  }

  private mergeWord(index: number, left: number, right: number, id: number, grown: Set<number>): void {
    const word = this.words[index] as Word;
    const { symbols, count } = word;
    const merged: number[] = [];
    for (let i = 0; i < symbols.length; i++) {
      const symbol = symbols[i] as number;
      if (symbol !== left || symbols[i + 1] !== right) {
        merged.push(symbol);
        continue;
      }
      i++;
      const before = merged.at(-1);
      if (before !== undefined) {
        this.change(key(before, left), -count, index);
        this.change(key(before, id), count, index);
        grown.add(key(before, id));
      }
      const after = symbols[i + 1];
      if (after !== undefined) {
        this.change(key(right, after), -count, index);
        this.change(key(id, after), count, index);
        grown.add(key(id, after));
      }
      merged.push(id);
    }
    word.symbols = merged;
  }
}

interface Candidate {
  pair: number;
  count: number;
}

/** Higher counts come first, then lower ids. The order is total, so the result does not depend on the heap. */
function precedes(a: Candidate, b: Candidate): boolean {
  return a.count !== b.count ? a.count > b.count : a.pair < b.pair;
}

/** A binary heap. */
class Heap {
  private readonly items: Candidate[] = [];

  constructor(items: readonly Candidate[]) {
    for (const item of items) this.push(item);
  }

  push(item: Candidate): void {
    const { items } = this;
    let at = items.length;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] as Candidate;
      if (!precedes(item, above)) break;
      items[at] = above;
      at = parent;
    }
    items[at] = item;
  }

  pop(): Candidate | undefined {
    const { items } = this;
    const top = items[0];
    const last = items.pop();
    if (top === undefined || last === undefined || items.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const right = items[child + 1];
      if (right !== undefined && precedes(right, items[child] as Candidate)) child++;
      const below = items[child];
      if (below === undefined || !precedes(below, last)) break;
      items[at] = below;
      at = child;
    }
    items[at] = last;
    return top;
  }
}
