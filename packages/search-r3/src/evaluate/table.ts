/** An evaluation as plain text, for terminals and logs. */
import { z } from 'zod';
import { validate } from '../run/validate.js';
import type { Evaluation } from './evaluator.js';
import type { MetricName } from './metrics.js';
import type { Interval } from './significance.js';

export interface TableOptions {
  /** Decimal places of metrics (default 3). */
  digits?: number;
}

const tableOptions = z.strictObject({ digits: z.int().min(1).max(10).default(3) });

/** Renders a row per system, then one per comparison, in aligned columns. Ends with a line end. */
export function renderEvaluation<M extends MetricName>(
  evaluation: Evaluation<M>,
  options: TableOptions = {},
): string {
  const { digits } = validate(tableOptions, options, 'renderEvaluation options');
  const { metrics, systems, comparisons } = evaluation;
  const percent = `${Number((100 * evaluation.confidence).toPrecision(10))} %`;
  const range = ({ low, high }: Interval) => `[${low.toFixed(digits)}, ${high.toFixed(digits)}]`;
  const parts = [
    renderTable([
      ['system', 'queries', ...metrics],
      ...systems.map(({ system, queries, scores }) => [
        system,
        String(queries),
        ...metrics.map(
          (metric) => `${scores[metric].mean.toFixed(digits)} ${range(scores[metric].interval)}`,
        ),
      ]),
    ]),
  ];
  if (comparisons.length > 0) {
    parts.push(
      renderTable([
        ['compared', 'metric', 'queries', 'difference', 'p'],
        ...comparisons.map(({ metric, baseline, system, queries, difference, interval, p }) => [
          `${system} - ${baseline}`,
          metric,
          String(queries),
          `${difference < 0 ? '' : '+'}${difference.toFixed(digits)} ${range(interval)}`,
          p < 0.0001 ? '<0.0001' : p.toFixed(4),
        ]),
      ]),
    );
  }
  const legend = `In brackets: ${percent} bootstrap interval.`;
  parts.push(comparisons.length > 0 ? `${legend} p: two-sided paired randomisation test.\n` : `${legend}\n`);
  return parts.join('\n');
}

/** Renders columns two spaces apart, the first aligned left, the others right. */
export function renderTable(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => (i === 0 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
        .join('  '),
    )
    .map((line) => `${line}\n`)
    .join('');
}
