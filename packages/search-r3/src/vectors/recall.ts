/** Recall of a search against an exact scan, over the queries that were measured last. */

/** Share of the true rows [queries * k] that are among those found [queries * k]. */
export function recallOf(found: Int32Array, truth: Int32Array, k: number): number {
  let hits = 0;
  for (let start = 0; start < truth.length; start += k) {
    const own = new Set(found.subarray(start, start + k));
    for (const row of truth.subarray(start, start + k)) hits += Number(own.has(row));
  }
  return truth.length === 0 ? 1 : hits / truth.length;
}

export interface MeasuredRecall {
  /** Mean of the queries, each with the `k` it was searched for. */
  recall: number;
  queries: number;
}

/** Queries that are remembered. */
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
