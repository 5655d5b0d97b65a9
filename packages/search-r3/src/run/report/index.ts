/**
 * `report.html`: a self-contained page about a run (no scripts, no external resources) with tables, line charts and
 * sample completions side by side.
 */
import { type ReportChart, renderChart } from './chart.js';
import { escapeHtml, formatNumber } from './html.js';
import { STYLE } from './style.js';

export type { ReportChart, ReportSeries } from './chart.js';

export interface ReportTable {
  title: string;
  /** Column headings; the first column names the rows. */
  columns: readonly string[];
  /** One cell per column; numbers are formatted. */
  rows: readonly (readonly (string | number)[])[];
}

/** What the model generated for one query. */
export interface ReportCompletion {
  reasoning: string;
  /** Rank of the best positive, from 1; null without an embedding. */
  rank: number | null;
  reward: number;
}

export interface ReportSample {
  query: string;
  before: ReportCompletion;
  after: ReportCompletion;
}

export interface Report {
  title: string;
  /** A paragraph or two below the title. */
  summary: string;
  tables?: readonly ReportTable[];
  charts?: readonly ReportChart[];
  samples?: readonly ReportSample[];
  /** Headings of the two sides of a sample. Default `before` and `after`. */
  sampleLabels?: readonly [before: string, after: string];
}

/** The page as HTML text. All text in `report` is escaped. */
export function renderReport(report: Report): string {
  const { tables = [], charts = [], samples = [] } = report;
  const title = escapeHtml(report.title);
  const sections = [
    tables.map(renderTable).join('\n'),
    charts.length === 0
      ? ''
      : `<section><h2>Curves</h2><div class="grid-2">${charts.map((chart, i) => renderChart(chart, `c${i}`)).join('\n')}</div></section>`,
    samples.length === 0 ? '' : renderSamples(samples, report.sampleLabels ?? ['before', 'after']),
  ];
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>${title}</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>${title}</h1>
<p class="lead">${escapeHtml(report.summary)}</p>
${sections.filter((section) => section !== '').join('\n')}
</main>
</body>
</html>
`;
}

function renderTable({ title, columns, rows }: ReportTable): string {
  const head = columns.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join('');
  const body = rows.map((row) => {
    const cells = row.map((cell, index) => {
      const text = escapeHtml(typeof cell === 'number' ? formatNumber(cell) : cell);
      return index === 0 ? `<th scope="row">${text}</th>` : `<td>${text}</td>`;
    });
    return `<tr>${cells.join('')}</tr>`;
  });
  return `<section><h2>${escapeHtml(title)}</h2><div class="card scroll"><table><thead><tr>${head}</tr></thead><tbody>${body.join('')}</tbody></table></div></section>`;
}

function renderSamples(samples: readonly ReportSample[], labels: readonly [string, string]): string {
  const items = samples.map(({ query, before, after }) => {
    const sides = [
      renderSide(labels[0], before, ''),
      renderSide(
        labels[1],
        after,
        after.reward > before.reward ? 'better' : after.reward < before.reward ? 'worse' : '',
      ),
    ];
    return `<article class="card sample"><h3>${escapeHtml(query)}</h3><div class="grid-2">${sides.join('')}</div></article>`;
  });
  return `<section><h2>Sample completions</h2><div class="samples">${items.join('\n')}</div></section>`;
}

function renderSide(label: string, { reasoning, rank, reward }: ReportCompletion, verdict: string): string {
  const facts = `rank ${rank === null ? 'none' : formatNumber(rank)}, reward ${formatNumber(reward)}`;
  const note = verdict === '' ? '' : ` <span class="${verdict}">${verdict}</span>`;
  return `<div><h4>${escapeHtml(label)}</h4><blockquote>${escapeHtml(reasoning)}</blockquote><p class="facts">${facts}${note}</p></div>`;
}
