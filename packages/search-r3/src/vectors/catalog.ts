/** The ids and fields of an index's documents in memory: what changes and filters need and searches do not. */
import type { IndexedDocument } from './documents.js';
import { matches, type Predicate } from './filter.js';
import type { RowLog } from './row-log.js';
import type { VectorIndex } from './types.js';

/** Rows read at a time. */
const PIECE_ROWS = 10_000;

/** A document without its text. */
type Fields = Readonly<Record<string, unknown>> & { readonly id: string };

export class Catalog {
  readonly #rows = new Map<string, number>();
  /** By row; undefined for removed ones. */
  readonly #fields: (Fields | undefined)[] = [];

  /** Reads the documents of the rows that an index has. */
  static async read(log: RowLog, index: VectorIndex): Promise<Catalog> {
    const catalog = new Catalog();
    for (let start = 0; start < log.rows; start += PIECE_ROWS) {
      const rows: number[] = [];
      for (let row = start; row < Math.min(start + PIECE_ROWS, log.rows); row++) {
        if (index.has(row)) rows.push(row);
      }
      for (const [i, document] of (await log.documents(rows)).entries()) {
        catalog.put(rows[i] as number, document);
      }
    }
    return catalog;
  }

  get ids(): string[] {
    return [...this.#rows.keys()];
  }

  /** The row of a document. */
  row(id: string): number | undefined {
    return this.#rows.get(id);
  }

  /** The id of the document in a row that is not removed. */
  id(row: number): string {
    return (this.#fields[row] as Fields).id;
  }

  /** Rows whose documents fulfil a predicate, in order. */
  matching(predicate: Predicate): Int32Array {
    const rows: number[] = [];
    for (const [row, fields] of this.#fields.entries()) {
      if (fields !== undefined && matches(predicate, fields)) rows.push(row);
    }
    return Int32Array.from(rows);
  }

  put(row: number, { text: _, ...fields }: IndexedDocument): void {
    this.#rows.set(fields.id, row);
    this.#fields[row] = fields;
  }

  remove(row: number): void {
    const id = this.id(row);
    if (this.#rows.get(id) === row) this.#rows.delete(id);
    this.#fields[row] = undefined;
  }
}
