/**
 * Line charts as SVG text. d3-scale and d3-shape compute scales, ticks and paths and need no DOM, unlike Observable
 * Plot and Vega.
 */
import { type ScaleLinear, scaleLinear } from 'd3-scale';
import { line } from 'd3-shape';
import { escapeHtml, formatNumber } from './html.js';

export interface ReportSeries {
  label: string;
  /** [step, value] in ascending order; a value that is null or not finite leaves a gap. */
  points: readonly (readonly [step: number, value: number | null])[];
}

export interface ReportChart {
  title: string;
  series: readonly ReportSeries[];
  /** Label of the value axis, for example `tokens`. Default none. */
  yLabel?: string;
  /** Label of the horizontal axis. Default `step`. */
  xLabel?: string;
  /** Range of the value axis. Default: the range of the values, rounded outwards. */
  yDomain?: readonly [number, number];
}

const WIDTH = 560;
const HEIGHT = 280;
const MARGIN = { top: 14, right: 16, bottom: 40, left: 56 };
/** Styles before they repeat; colours and dashes both differ, so that lines can be told apart without colour. */
export const SERIES_STYLES = 6;
/** Hover targets per line: more cannot be told apart at this width. */
const MAX_MARKS = 120;

type Point = [number, number];

/** A chart with legend and data table as an HTML `figure`. `id` must be unique in the page. */
export function renderChart(chart: ReportChart, id: string): string {
  const series = chart.series.map(({ label, points }) => ({ label, runs: finiteRuns(points) }));
  const all = series.flatMap(({ runs }) => runs.flat());
  const body =
    all.length === 0
      ? '<p class="empty">No data.</p>'
      : renderSvg(chart, series, all, id) + (series.length > 1 ? legend(series) : '') + dataTable(chart);
  return `<figure class="card"><figcaption>${escapeHtml(chart.title)}</figcaption>${body}</figure>`;
}

interface Drawn {
  label: string;
  runs: Point[][];
}

/** The stretches of a line between its gaps. */
function finiteRuns(points: ReportSeries['points']): Point[][] {
  const runs: Point[][] = [];
  let open = false;
  for (const [step, value] of points) {
    if (value === null || !Number.isFinite(value) || !Number.isFinite(step)) {
      open = false;
      continue;
    }
    if (!open) runs.push([]);
    open = true;
    runs.at(-1)?.push([step, value]);
  }
  return runs;
}

function extent(values: readonly number[]): [number, number] {
  const low = values.reduce((a, b) => Math.min(a, b));
  const high = values.reduce((a, b) => Math.max(a, b));
  if (low < high) return [low, high];
  const room = low === 0 ? 1 : Math.abs(low) * 0.1; // A constant is drawn in the middle of the chart.
  return [low - room, low + room];
}

function renderSvg(chart: ReportChart, series: readonly Drawn[], all: readonly Point[], id: string): string {
  const x = scaleLinear(extent(all.map(([step]) => step)), [MARGIN.left, WIDTH - MARGIN.right]);
  const y = scaleLinear(
    [...(chart.yDomain ?? extent(all.map(([, value]) => value)))],
    [HEIGHT - MARGIN.bottom, MARGIN.top],
  );
  if (chart.yDomain === undefined) y.nice(5);
  const lines = series.map((drawn, index) => renderSeries(drawn, index, x, y, chart.xLabel ?? 'step'));
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-labelledby="${id}-t ${id}-d">
<title id="${id}-t">${escapeHtml(chart.title)}</title>
<desc id="${id}-d">${escapeHtml(describe(series))}</desc>
${axes(chart, x, y)}
${lines.join('\n')}
</svg>`;
}

type Scale = ScaleLinear<number, number>;

function axes(chart: ReportChart, x: Scale, y: Scale): string {
  const bottom = HEIGHT - MARGIN.bottom;
  const right = WIDTH - MARGIN.right;
  const yTicks = y.ticks(5).map((tick) => {
    const at = round(y(tick));
    return `<line class="grid" x1="${MARGIN.left}" x2="${right}" y1="${at}" y2="${at}"/><text class="tick" x="${MARGIN.left - 8}" y="${at}" dy="0.32em" text-anchor="end">${formatNumber(tick)}</text>`;
  });
  const xTicks = x.ticks(6).map((tick) => {
    const at = round(x(tick));
    return `<line class="axis" x1="${at}" x2="${at}" y1="${bottom}" y2="${bottom + 4}"/><text class="tick" x="${at}" y="${bottom + 17}" text-anchor="middle">${formatNumber(tick)}</text>`;
  });
  const middle = (MARGIN.top + bottom) / 2;
  const yLabel =
    chart.yLabel === undefined
      ? ''
      : `<text class="label" transform="translate(13 ${middle}) rotate(-90)" text-anchor="middle">${escapeHtml(chart.yLabel)}</text>`;
  const xLabel = `<text class="label" x="${(MARGIN.left + right) / 2}" y="${HEIGHT - 6}" text-anchor="middle">${escapeHtml(chart.xLabel ?? 'step')}</text>`;
  const base = `<line class="axis" x1="${MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}"/>`;
  return `<g aria-hidden="true">${yTicks.join('')}${base}${xTicks.join('')}${xLabel}${yLabel}</g>`;
}

function renderSeries({ label, runs }: Drawn, index: number, x: Scale, y: Scale, xLabel: string): string {
  const toPath = line<Point>(
    ([step]) => round(x(step)),
    ([, value]) => round(y(value)),
  );
  const style = `s${index % SERIES_STYLES}`;
  const paths = runs.map((run) => `<path class="line ${style}" d="${toPath(run) ?? ''}"/>`);
  const points = runs.flat();
  const stride = Math.ceil(points.length / MAX_MARKS);
  const marks = points
    .filter((_, at) => at % stride === 0 || at === points.length - 1)
    .map(([step, value]) => {
      const tip = `${label}: ${formatNumber(value)} (${xLabel} ${formatNumber(step)})`;
      const dot = points.length === 1 ? 'mark alone' : 'mark';
      return `<circle class="${dot} ${style}" cx="${round(x(step))}" cy="${round(y(value))}" r="5"><title>${escapeHtml(tip)}</title></circle>`;
    });
  return `<g>${paths.join('')}${marks.join('')}</g>`;
}

const round = (value: number) => Math.round(value * 10) / 10;

/** The chart in a sentence, for screen readers. */
function describe(series: readonly Drawn[]): string {
  return series
    .map(({ label, runs }) => {
      const points = runs.flat();
      const [first, last] = [points[0], points.at(-1)];
      if (first === undefined || last === undefined) return `${label}: no data.`;
      return `${label}: from ${formatNumber(first[1])} at ${first[0]} to ${formatNumber(last[1])} at ${last[0]}.`;
    })
    .join(' ');
}

function legend(series: readonly Drawn[]): string {
  const items = series.map(({ label }, index) => {
    const style = `s${index % SERIES_STYLES}`;
    const swatch = `<svg viewBox="0 0 28 8" aria-hidden="true"><path class="line ${style}" d="M1,4H27"/></svg>`;
    return `<li>${swatch}${escapeHtml(label)}</li>`;
  });
  return `<ul class="legend">${items.join('')}</ul>`;
}

function dataTable(chart: ReportChart): string {
  const steps = [...new Set(chart.series.flatMap(({ points }) => points.map(([step]) => step)))].sort(
    (a, b) => a - b,
  );
  const values = chart.series.map(({ points }) => new Map(points.map(([step, value]) => [step, value])));
  const head = [chart.xLabel ?? 'step', ...chart.series.map(({ label }) => label)];
  const rows = steps.map((step) => {
    const cells = values.map((column) => {
      const value = column.get(step);
      return `<td>${value === undefined || value === null ? '' : formatNumber(value)}</td>`;
    });
    return `<tr><th scope="row">${formatNumber(step)}</th>${cells.join('')}</tr>`;
  });
  const headings = head.map((text) => `<th scope="col">${escapeHtml(text)}</th>`).join('');
  return `<details><summary>Data</summary><div class="scroll"><table><thead><tr>${headings}</tr></thead><tbody>${rows.join('')}</tbody></table></div></details>`;
}
