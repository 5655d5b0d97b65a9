/** Recall of searches against exact scans, over the latest measured queries. */

/** Share of the true rows [queries * k] that are among the found ones [queries * k]. */
export function recallOf(found: Int32Array, truth: Int32Array, k: number): number {
  let hits = 0;
  for (let start = 0; start < truth.length; start += k) {
    const own = new Set(found.subarray(start, start + k));
    for (const row of truth.subarray(start, start + k)) hits += Number(own.has(row));
  }
  return truth.length === 0 ? 1 : hits / truth.length;
}

export interface MeasuredRecall {
  /** Mean over the queries, each at the `k` of its search. */
  recall: number;
  queries: number;
}

/** Number of latest queries that count. */
const WINDOW = 256;

export class RecallWindow {
  readonly #measured: MeasuredRecall[] = [];

  add(measured: MeasuredRecall): void {
    this.#measured.push(measured);
    while (this.queries - (this.#measured[0]?.queries ?? 0) >= WINDOW) this.#measured.shift();
  }

  get queries(): number {
    return this.#measured.reduce((sum, { queries }) => sum + queries, 0);
  }

  /** Undefined before anything was measured. */
  get value(): MeasuredRecall | undefined {
    const { queries } = this;
    if (queries === 0) return undefined;
    const sum = this.#measured.reduce((total, own) => total + own.recall * own.queries, 0);
    return { recall: sum / queries, queries };
  }

  clear(): void {
    this.#measured.length = 0;
  }
}
