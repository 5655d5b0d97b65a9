/** Which documents there are: ids and the rows of their vectors. A document keeps its row for ever. */
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { InputError } from '../run/index.js';
import type { CorpusChange, RolloutBatch } from './types.js';

/** The corpus as it differs from the one it started with. */
export const corpusStateSchema = z.strictObject({
  /** Digest of the ids it started with. */
  start: z.string(),
  added: z.array(z.string()),
  /** Rows. */
  removed: z.array(z.int().nonnegative()),
});
export type CorpusState = z.infer<typeof corpusStateSchema>;

/** A relevant document of a rollout. */
export interface GradedRow {
  row: number;
  grade: number;
}

export class Corpus {
  /** By row, removed ones included. */
  readonly #ids: string[];
  readonly #rows: Map<string, number>;
  readonly #removed = new Set<number>();
  readonly #initial: number;
  /** Of the documents that are there; made when it is asked for. */
  #present: readonly number[] | undefined;

  /** Errors: InputError for an empty corpus, and for an id that comes twice. */
  constructor(documents: readonly string[]) {
    const fail = (expected: string, found: string) =>
      new InputError({ source: 'environment', field: 'documents', expected, found });
    if (documents.length === 0) throw fail('at least one', 'none');
    this.#ids = [...documents];
    this.#rows = new Map(documents.map((id, row) => [id, row]));
    if (this.#rows.size < documents.length) {
      const twice = documents.find((id, row) => this.#rows.get(id) !== row);
      throw fail('different ids', `${twice} twice`);
    }
    this.#initial = documents.length;
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

  holds(row: number): boolean {
    return row < this.#ids.length && !this.#removed.has(row);
  }

  row(id: string): number {
    const row = this.#rows.get(id);
    if (row === undefined) throw new RangeError(`the document ${id} is not in the corpus`);
    return row;
  }

  /** Rows of the documents named, checked before anything is changed. Removed ones that are added get their old row. */
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
      changed: changed.map((id) => this.row(id)),
      removed: removed.map((id) => this.row(id)),
    };
    this.#present = undefined;
    for (const row of rows.removed) this.#removed.add(row);
    return { ...rows, added: added.map((id) => this.#add(id)) };
  }

  /** The relevant documents of each rollout that are there, smallest grade first. Errors: as `Environment.reward`. */
  relevant({ relevant }: RolloutBatch): GradedRow[][] {
    return relevant.map((grades, rollout) => {
      const present = [...grades]
        .map(([id, grade]) => ({ row: this.row(id), grade }))
        .filter(({ row }) => this.holds(row));
      if (present.length === 0) {
        throw new RangeError(`expected relevant documents of rollout ${rollout} in the corpus, found none`);
      }
      return present.sort((a, b) => a.grade - b.grade);
    });
  }

  state(): CorpusState {
    return {
      start: digest(this.#ids.slice(0, this.#initial)),
      added: this.#ids.slice(this.#initial),
      removed: [...this.#removed].sort((a, b) => a - b),
    };
  }

  /** Of a corpus that is as it was made. @throws InputError for the state of another corpus. */
  restore({ start, added, removed }: CorpusState): void {
    const own = digest(this.#ids.slice(0, this.#initial));
    if (own !== start) {
      throw new InputError({
        source: 'environment state',
        field: 'documents',
        expected: `those of this corpus (${own})`,
        found: `those of another (${start})`,
      });
    }
    for (const id of this.#ids.splice(this.#initial)) this.#rows.delete(id);
    this.#removed.clear();
    this.#present = undefined;
    for (const id of added) this.#add(id);
    for (const row of removed) this.#removed.add(row);
  }

  #add(id: string): number {
    const known = this.#rows.get(id);
    const row = known ?? this.#ids.length;
    if (known === undefined) this.#ids.push(id);
    this.#rows.set(id, row);
    this.#removed.delete(row);
    return row;
  }
}

const digest = (ids: readonly string[]): string =>
  createHash('sha256').update(JSON.stringify(ids)).digest('hex').slice(0, 16);
