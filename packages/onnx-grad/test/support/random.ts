/** Seeded random numbers for tests: mulberry32 (Tommy Ettinger, public domain) seeded with FNV-1a of a label. */

export interface Random {
  /** Uniform in [low, high). */
  uniform(low?: number, high?: number): number;
  /** Standard normal (Box-Muller). */
  normal(): number;
  /** Uniform integer in [0, n). */
  integer(n: number): number;
}

export function random(label: string): Random {
  let state = 0x811c9dc5;
  for (const character of label) state = Math.imul(state ^ (character.codePointAt(0) as number), 0x01000193);
  const unit = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return {
    uniform: (low = 0, high = 1) => low + (high - low) * unit(),
    normal: () => Math.sqrt(-2 * Math.log(1 - unit())) * Math.cos(2 * Math.PI * unit()),
    integer: (n) => Math.floor(unit() * n),
  };
}
