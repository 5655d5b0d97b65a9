/** Fidelity against cost as SVG, one panel per collection: reward error over documents encoded, both logarithmic. */
import { type ScaleLogarithmic, scaleLog } from 'd3-scale';
import { line } from 'd3-shape';
import { armName, BUDGETS, NEVER, POSITIVES, type Results } from './environment-arms.js';
import { mean } from './stats.js';

const PANEL = { width: 460, height: 320 };
const MARGIN = { top: 34, right: 16, bottom: 46, left: 62 };
type Point = [share: number, error: number];

interface Curves {
  lines: [name: string, points: Point[]][];
  /** Error without any refresh. */
  never: number;
}

/** Each line has its own dashes, for readers who see no colours. */
const STYLES: Record<string, { colour: string; dashes: string }> = {
  value: { colour: '#0b6e4f', dashes: '' },
  region: { colour: '#c8553d', dashes: '8 3' },
  random: { colour: '#5b5f97', dashes: '3 3' },
  periodic: { colour: '#8a6d1d', dashes: '10 3 2 3' },
  [POSITIVES]: { colour: '#444', dashes: '' },
};

/** Means over the trajectories of one collection. */
function curvesOf(all: readonly Results[]): Curves {
  const point = (name: string): Point => [
    mean(all.map((one) => one[name].share)),
    mean(all.map((one) => one[name].error)),
  ];
  const lines = ['value', 'region', 'random', 'periodic'].map((policy): [string, Point[]] => [
    policy,
    BUDGETS.map((share) => point(armName(policy, share))),
  ]);
  return { lines: [...lines, [POSITIVES, [point(POSITIVES)]]], never: point(NEVER)[1] };
}

/** @param collections replayed arms of each trajectory, by name of the collection. */
export function renderPlot(collections: Readonly<Record<string, readonly Results[]>>): string {
  const panels = Object.entries(collections).map(([title, all], i) =>
    panel(title, curvesOf(all), i * PANEL.width),
  );
  const width = PANEL.width * panels.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${PANEL.height}" width="${width}" height="${PANEL.height}" font-family="sans-serif" font-size="11" role="img">`,
    '<title>Reward error against documents encoded per step</title>',
    `<rect width="${width}" height="${PANEL.height}" fill="#fff"/>`,
    ...panels,
    '</svg>\n',
  ].join('\n');
}

function panel(title: string, { lines, never }: Curves, left: number): string {
  // Zero has no place on a logarithmic scale.
  const drawn = lines.map(([name, points]): [string, Point[]] => [
    name,
    points.filter(([share, error]) => share > 0 && error > 0),
  ]);
  const all = drawn.flatMap(([, points]) => points);
  const extent = (values: readonly number[]): [number, number] => [
    Math.min(...values) / 1.2,
    Math.max(...values) * 1.2,
  ];
  const x = scaleLog(extent(all.map(([share]) => 100 * share)), [
    left + MARGIN.left,
    left + PANEL.width - MARGIN.right,
  ]);
  const y = scaleLog(extent([never, ...all.map(([, error]) => error)]), [
    PANEL.height - MARGIN.bottom,
    MARGIN.top,
  ]);
  const at = (value: number) => value.toFixed(1);
  const path = line<Point>(
    ([share]) => Number(at(x(100 * share))),
    ([, error]) => Number(at(y(error))),
  );
  const bottom = PANEL.height - MARGIN.bottom;
  const right = left + PANEL.width - MARGIN.right;
  const shown = (scale: ScaleLogarithmic<number, number>) =>
    scale.ticks(4).filter((tick) => /^[125]/.test(tick.toExponential()));
  const parts = [
    `<text x="${left + MARGIN.left}" y="18" font-size="13">${title}</text>`,
    ...shown(y).map(
      (tick) =>
        `<line x1="${left + MARGIN.left}" x2="${right}" y1="${at(y(tick))}" y2="${at(y(tick))}" stroke="#ddd"/>` +
        `<text x="${left + MARGIN.left - 6}" y="${at(y(tick))}" dy="0.32em" text-anchor="end">${tick}</text>`,
    ),
    ...shown(x).map(
      (tick) =>
        `<line x1="${at(x(tick))}" x2="${at(x(tick))}" y1="${bottom}" y2="${bottom + 4}" stroke="#444"/>` +
        `<text x="${at(x(tick))}" y="${bottom + 17}" text-anchor="middle">${tick} %</text>`,
    ),
    `<line x1="${left + MARGIN.left}" x2="${right}" y1="${bottom}" y2="${bottom}" stroke="#444"/>`,
    `<text x="${(left + MARGIN.left + right) / 2}" y="${PANEL.height - 8}" text-anchor="middle">documents encoded per step, share of the corpus</text>`,
    `<text transform="translate(${left + 14} ${(MARGIN.top + bottom) / 2}) rotate(-90)" text-anchor="middle">mean absolute reward error</text>`,
    `<line x1="${left + MARGIN.left}" x2="${right}" y1="${at(y(never))}" y2="${at(y(never))}" stroke="#999" stroke-dasharray="2 4"/>`,
    `<text x="${right}" y="${at(y(never) - 4)}" text-anchor="end" fill="#666">${NEVER}</text>`,
  ];
  for (const [name, points] of drawn) {
    const { colour, dashes } = STYLES[name];
    parts.push(
      `<path d="${path(points) ?? ''}" fill="none" stroke="${colour}" stroke-width="2" stroke-dasharray="${dashes}"/>`,
    );
    for (const [share, error] of points) {
      parts.push(
        `<circle cx="${at(x(100 * share))}" cy="${at(y(error))}" r="3.5" fill="${colour}"><title>${name}: ${error.toFixed(4)} at ${(100 * share).toFixed(2)} %</title></circle>`,
      );
    }
    const end = points.at(-1);
    if (end !== undefined) {
      const [share, error] = end;
      parts.push(
        `<text x="${at(x(100 * share) - 6)}" y="${at(y(error) - 7)}" text-anchor="end" fill="${colour}">${name}</text>`,
      );
    }
  }
  return `<g>${parts.join('\n')}</g>`;
}
