/**
 * Which documents there are: ids and the rows of their vectors. A document keeps its row for as long as it is there, and
 * gets it back where no other has taken it; what is added takes the first rows that are free.
 */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InputError } from '../run/index.js';
import type { CorpusChange, RolloutBatch } from './types.js';

/** The corpus as it differs from the one it started with. */
export const corpusStateSchema = z.strictObject({
  /** Digest of the ids it started with. */
  start: z.string(),
  /** Of the rows after those it started with, and, with their rows, of those whose first document is another now. */
  added: z.array(z.string()),
  replaced: z.array(z.tuple([z.int().nonnegative(), z.string()])).default([]),
  /** Rows. */
  removed: z.array(z.int().nonnegative()),
  /** Ids that were there, and have no row any more. */
  gone: z.array(z.string()).default([]),
});
export type CorpusState = z.infer<typeof corpusStateSchema>;

/** A relevant document of a rollout. */
export interface GradedRow {
  row: number;
  grade: number;
}

export class Corpus {
  /** Those it started with. */
  readonly #start: readonly string[];
  /** By row, of free rows the last one. */
  #ids: string[];
  #rows: Map<string, number>;
  /** Rows that are free. */
  #removed = new Set<number>();
  /** Removed ones whose row another has: they may still be asked for. */
  #gone = new Set<string>();
  /** Of the documents that are there; made when it is asked for. */
  #present: readonly number[] | undefined;

  /** Errors: InputError for an empty corpus, and for an id that comes twice. */
  constructor(documents: readonly string[]) {
    const fail = (expected: string, found: string) =>
      new InputError({ source: 'environment', field: 'documents', expected, found });
    if (documents.length === 0) throw fail('at least one', 'none');
    this.#start = [...documents];
    this.#ids = [...documents];
    this.#rows = rowsOf(documents);
    if (this.#rows.size < documents.length) {
      const twice = documents.find((id, row) => this.#rows.get(id) !== row);
      throw fail('different ids', `${twice} twice`);
    }
  }

  /** Rows ever made. */
  get size(): number {
    return this.#ids.length;
  }

  get live(): number {
    return this.#ids.length - this.#removed.size;
  }

  get documents(): readonly string[] {
    return this.#removed.size === 0 ? this.#ids : this.#ids.filter((_, row) => !this.#removed.has(row));
  }

  /** Rows of the documents that are there, ascending. */
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

  /** Undefined for a document that was removed. @throws RangeError for one that never was there. */
  row(id: string): number | undefined {
    const row = this.#rows.get(id);
    if (row === undefined && !this.#gone.has(id)) {
      throw new RangeError(`the document ${id} is not in the corpus`);
    }
    return row === undefined || this.#removed.has(row) ? undefined : row;
  }

  /** Rows of the documents named, checked before anything is changed. */
  change({ added = [], changed = [], removed = [] }: CorpusChange): Record<keyof CorpusChange, number[]> {
    for (const id of added) {
      if (this.has(id)) throw new RangeError(`change: the document ${id} is there already`);
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
    // Whoever holds the documents keeps what they were.
    if (added.length > 0) this.#ids = [...this.#ids];
    const free = [...this.#removed].sort((a, b) => b - a);
    return { ...rows, added: added.map((id) => this.#add(id, free)) };
  }

  /** The relevant documents of each rollout that are there, smallest grade first. Errors: as `Environment.reward`. */
  relevant({ relevant }: RolloutBatch): GradedRow[][] {
    return relevant.map((grades, rollout) => {
      const present = [...grades].flatMap(([id, grade]) => {
        const row = this.row(id);
        return row === undefined ? [] : [{ row, grade }];
      });
      if (present.length === 0) {
        throw new RangeError(`expected relevant documents of rollout ${rollout} in the corpus, found none`);
      }
      return present.sort((a, b) => a.grade - b.grade);
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

  /** `free`: rows that were, last ones first; those looked at are taken off. */
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
