/** Invented names: one lower-case word each, made of syllables, none drawn twice and none an ordinary word. */
import type { RandomStream } from '../../run/random.js';

const ONSETS = ['b', 'br', 'd', 'f', 'g', 'h', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z'];
const NUCLEI = ['a', 'e', 'i', 'o', 'u'];
const SYLLABLES = ONSETS.flatMap((onset) => NUCLEI.map((nucleus) => onset + nucleus));

export interface NameStyle {
  /** One of these closes each name (default: none). */
  endings?: readonly string[];
  /** Least number of syllables before the ending (default 2). Names get more syllables if they would run out. */
  syllables?: number;
}

/** Draws names that differ from each other and from the `reserved` words. */
export class NameSource {
  readonly #random: RandomStream;
  readonly #taken: Set<string>;

  constructor(random: RandomStream, reserved: Iterable<string>) {
    this.#random = random;
    this.#taken = new Set(reserved);
  }

  /** `count` new names of one style. */
  draw(count: number, { endings = [''], syllables = 2 }: NameStyle = {}): string[] {
    // Short names while at least three quarters of them stay unused, so that few draws hit a taken one.
    let length = syllables;
    while (SYLLABLES.length ** length * endings.length < 4 * count) length++;
    return Array.from({ length: count }, () => this.#drawOne(length, endings));
  }

  #drawOne(length: number, endings: readonly string[]): string {
    for (;;) {
      const stem = Array.from({ length }, () => this.#random.choice(SYLLABLES)).join('');
      const name = stem + this.#random.choice(endings);
      if (this.#taken.has(name)) continue;
      this.#taken.add(name);
      return name;
    }
  }
}
