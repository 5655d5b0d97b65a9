/** The table of the `real` benchmark. */
import { renderTable } from 'search-r3/evaluate';
import type { Summary } from './stats.js';

/** A line of the table: a figure, its range over the rounds, or why there is none. */
export interface Row {
  work: string;
  what: string;
  unit: string;
  value: Summary | number | string;
}

/** What a part of the benchmark found. */
export interface Part {
  figures: unknown;
  rows: Row[];
  /** Lines below the table. */
  notes?: string[];
}

function number(value: number): string {
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en');
  // Cosines and scores differ in late digits.
  return String(Math.abs(value) <= 1 ? Number(value.toFixed(5)) : Number(value.toPrecision(4)));
}

function cells({ work, what, unit, value }: Row): string[] {
  const name = `${work}: ${what}`;
  if (typeof value === 'string') return [name, value, '', ''];
  if (typeof value === 'number') return [name, number(value), '', unit];
  return [name, number(value.median), `${number(value.lowest)} to ${number(value.highest)}`, unit];
}

export const tableOf = (rows: readonly Row[], notes: readonly string[]): string =>
  [renderTable([['', 'median', 'range', 'unit'], ...rows.map(cells)]), ...notes].join('\n');
