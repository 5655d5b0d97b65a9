/**
 * The documents of the corpus: their ids and the rows of their vectors. A document keeps its row until it is removed,
 * and gets it back when it returns unless another document took it. Added documents take the first free rows.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InputError } from '../run/index.js';
import type { CorpusChange, RolloutBatch } from './types.js';

/** How the corpus differs from the one it started with. */
export const corpusStateSchema = z.strictObject({
  /** Digest of the initial ids. */
  start: z.string(),
  /** Ids of the rows after the initial ones. */
  added: z.array(z.string()),
  /** Initial rows that hold another document now, with its id. */
  replaced: z.array(z.tuple([z.int().nonnegative(), z.string()])).default([]),
  /** Free rows. */
  removed: z.array(z.int().nonnegative()),
  /** Ids of removed documents whose row another document took. */
  gone: z.array(z.string()).default([]),
});
export type CorpusState = z.infer<typeof corpusStateSchema>;

/** A relevant document of a rollout, or with grade 0 the document that is its query. */
export interface GradedRow {
  row: number;
  grade: number;
}

/** The relevant ones of these. */
export const withoutOwn = (rows: readonly GradedRow[]): readonly GradedRow[] =>
  rows[0]?.grade === 0 ? rows.slice(1) : rows;

export class Corpus {
  /** The initial ids. */
  readonly #start: readonly string[];
  /** Id by row; a free row has its last one. */
  #ids: string[];
  #rows: Map<string, number>;
  /** Free rows. */
  #removed = new Set<number>();
  /** Removed documents whose row another took: callers may still ask for them. */
  #gone = new Set<string>();
  /** Cache of `rows`. */
  #present: readonly number[] | undefined;

  /** @throws InputError for an empty corpus and for a duplicate id. */
  constructor(documents: readonly string[]) {
    const fail = (expected: string, found: string) =>
      new InputError({ source: 'environment', field: 'documents', expected, found });
    if (documents.length === 0) throw fail('at least one', 'none');
    this.#start = [...documents];
    this.#ids = [...documents];
    this.#rows = rowsOf(documents);
    if (this.#rows.size < documents.length) {
      const twice = documents.find((id, row) => this.#rows.get(id) !== row);
      throw fail('distinct ids', `${twice} twice`);
    }
  }

  /** Number of rows, free ones included. */
  get size(): number {
    return this.#ids.length;
  }

  get live(): number {
    return this.#ids.length - this.#removed.size;
  }

  get documents(): readonly string[] {
    return this.#removed.size === 0 ? this.#ids : this.#ids.filter((_, row) => !this.#removed.has(row));
  }

  /** Rows of the current documents, ascending. */
  rows(): readonly number[] {
    this.#present ??= [...this.#ids.keys()].filter((row) => !this.#removed.has(row));
    return this.#present;
  }

  id(row: number): string {
    return this.#ids[row] as string;
  }

  has(id: string): boolean {
    const row = this.#rows.get(id);
    return row !== undefined && !this.#removed.has(row);
  }

  /** The row of a document; undefined if it was removed. @throws RangeError for an unknown id. */
  row(id: string): number | undefined {
    const row = this.#rows.get(id);
    if (row === undefined && !this.#gone.has(id)) {
      throw new RangeError(`the document ${id} is not in the corpus`);
    }
    return row === undefined || this.#removed.has(row) ? undefined : row;
  }

  /** Applies a change, after checking all of it, and returns the rows of the named documents. */
  change({ added = [], changed = [], removed = [] }: CorpusChange): Record<keyof CorpusChange, number[]> {
    for (const id of added) {
      if (this.has(id)) throw new RangeError(`change: the document ${id} is already in the corpus`);
    }
    for (const id of [...changed, ...removed]) {
      if (!this.has(id)) throw new RangeError(`change: the document ${id} is not in the corpus`);
    }
    const all = [...added, ...changed, ...removed];
    const seen = new Set<string>();
    const twice = all.find((id) => seen.size === seen.add(id).size);
    if (twice !== undefined) throw new RangeError(`change: the document ${twice} is named twice`);
    const left = this.live + added.length - removed.length;
    if (left === 0) throw new RangeError('change: expected to leave at least one document');
    const rows = {
      changed: changed.flatMap((id) => this.row(id) ?? []),
      removed: removed.flatMap((id) => this.row(id) ?? []),
    };
    this.#present = undefined;
    for (const row of rows.removed) this.#removed.add(row);
    // A caller may hold the old array: do not change it.
    if (added.length > 0) this.#ids = [...this.#ids];
    const free = [...this.#removed].sort((a, b) => b - a);
    return { ...rows, added: added.map((id) => this.#add(id, free)) };
  }

  /**
   * The current relevant documents of each rollout, smallest grade first, after the document that is its query. Errors: as
   * `Environment.reward`.
   */
  relevant({ relevant, own = [] }: RolloutBatch): GradedRow[][] {
    const rowsOf = (id: string, grade: number): GradedRow[] => {
      const row = this.row(id);
      return row === undefined ? [] : [{ row, grade }];
    };
    return relevant.map((grades, rollout) => {
      const self = own[rollout];
      const present = [...grades].flatMap(([id, grade]) => (id === self ? [] : rowsOf(id, grade)));
      if (present.length === 0) {
        throw new RangeError(`expected relevant documents of rollout ${rollout} in the corpus, found none`);
      }
      const sorted = present.sort((a, b) => a.grade - b.grade);
      return self === undefined ? sorted : [...rowsOf(self, 0), ...sorted];
    });
  }

  state(): CorpusState {
    const { length } = this.#start;
    return {
      start: digest(this.#start),
      added: this.#ids.slice(length),
      replaced: this.#start.flatMap((id, row): [number, string][] => {
        const now = this.#ids[row] as string;
        return now === id ? [] : [[row, now]];
      }),
      removed: [...this.#removed].sort((a, b) => a - b),
      gone: [...this.#gone],
    };
  }

  /** @throws InputError for the state of another corpus. */
  restore({ start, added, replaced, removed, gone }: CorpusState): void {
    const own = digest(this.#start);
    if (own !== start) {
      throw new InputError({
        source: 'environment state',
        field: 'documents',
        expected: `those of this corpus (${own})`,
        found: `those of another (${start})`,
      });
    }
    this.#ids = [...this.#start, ...added];
    for (const [row, id] of replaced) this.#ids[row] = id;
    this.#rows = rowsOf(this.#ids);
    this.#removed = new Set(removed);
    this.#gone = new Set(gone);
    this.#present = undefined;
  }

  /** `free`: candidate rows in descending order; rows are popped as they are examined. */
  #add(id: string, free: number[]): number {
    let row = this.#rows.get(id);
    while (row === undefined && free.length > 0) {
      const next = free.pop() as number;
      if (this.#removed.has(next)) row = next;
    }
    row ??= this.#ids.length;
    const last = this.#ids[row];
    if (last !== undefined && last !== id) {
      this.#rows.delete(last);
      this.#gone.add(last);
    }
    this.#ids[row] = id;
    this.#rows.set(id, row);
    this.#removed.delete(row);
    this.#gone.delete(id);
    return row;
  }
}

const rowsOf = (ids: readonly string[]) => new Map(ids.map((id, row) => [id, row]));

const digest = (ids: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(ids)).digest('hex').slice(0, 16);
