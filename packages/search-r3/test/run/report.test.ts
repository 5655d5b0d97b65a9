import { type Report, renderReport } from 'search-r3/run/report';
import { describe, expect, test } from 'vitest';

const report: Report = {
  title: 'Atlas <demo> & "more"',
  summary: 'Reasoned retrieval rose.',
  tables: [
    {
      title: 'Held-out queries',
      columns: ['system', 'nDCG@10', 'queries'],
      rows: [
        ['BM25', 0.12345678, 1200],
        ['after <RL>', 0.9, 1200],
      ],
    },
  ],
  charts: [
    {
      title: 'Reward',
      yDomain: [0, 1],
      series: [
        {
          label: 'mean & spread',
          points: [
            [0, 0],
            [10, 0.5],
            [20, null],
            [30, Number.NaN],
            [40, 1],
          ],
        },
        { label: 'held out', points: [[20, 0.25]] },
      ],
    },
    { title: 'Nothing yet', series: [{ label: 'x', points: [[1, null]] }] },
    {
      title: 'Length',
      yLabel: 'tokens',
      xLabel: 'update',
      series: [
        {
          label: 'constant',
          points: [
            [1, 40],
            [2, 40],
          ],
        },
      ],
    },
  ],
  samples: [
    {
      query: 'food in the home town of <script>alert(1)</script>',
      before: { reasoning: 'a\nb', rank: null, reward: 0 },
      after: { reasoning: 'bell\u0007, half \ud83d, whole 😀', rank: 1, reward: 1 },
    },
    {
      query: 'worse',
      before: { reasoning: 'x', rank: 2, reward: 0.63093 },
      after: { reasoning: 'y', rank: 12, reward: 0.2702 },
    },
  ],
};
const html = renderReport(report);
/** The figures of the page, in order. */
const figures = html.match(/<figure[\s\S]*?<\/figure>/g) ?? [];

test('text is escaped, and characters HTML cannot hold are replaced', () => {
  expect(html).toContain('<title>Atlas &lt;demo&gt; &amp; &quot;more&quot;</title>');
  expect(html).toContain('<h3>food in the home town of &lt;script&gt;alert(1)&lt;/script&gt;</h3>');
  expect(html).toContain('<th scope="row">after &lt;RL&gt;</th>');
  expect(html).toContain('bell\ufffd, half \ufffd, whole 😀');
  expect(html).toContain('<blockquote>a\nb</blockquote>');
});

test('the page loads and runs nothing', () => {
  expect(html).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
  expect(html).not.toMatch(/<script|<link|<img|<iframe|\b(?:src|href)=|url\(|@import|https?:/);
});

test('every element is closed, in order', () => {
  const open: string[] = [];
  const empty = new Set(['meta', '!doctype']);
  for (const [, close, name, self] of html.matchAll(/<(\/?)([!a-z][a-z0-9]*)[^>]*?(\/?)>/g)) {
    if (empty.has(name ?? '') || self === '/') continue;
    if (close === '/') expect(open.pop()).toBe(name);
    else open.push(name ?? '');
  }
  expect(open).toEqual([]);
});

test('tables format numbers and name rows and columns', () => {
  expect(html).toContain('<th scope="col">nDCG@10</th>');
  expect(html).toContain('<th scope="row">BM25</th><td>0.1235</td><td>1,200</td>');
});

describe('charts', () => {
  test('points lie where the scales put them, gaps stay gaps', () => {
    // Plot area: x 56..544 for steps 0..40, y 240 (value 0) .. 14 (value 1).
    const paths = [...(figures[0] ?? '').matchAll(/<path class="line s0" d="([^"]*)"/g)].map(
      (match) => match[1],
    );
    expect(paths.slice(0, 2)).toEqual(['M56,240L178,127', 'M544,14Z']);
    const marks = [...(figures[0] ?? '').matchAll(/<circle class="([^"]*)" cx="([^"]*)" cy="([^"]*)"/g)];
    expect(marks.map((mark) => mark.slice(1))).toEqual([
      ['mark s0', '56', '240'],
      ['mark s0', '178', '127'],
      ['mark s0', '544', '14'],
      ['mark alone s1', '300', '183.5'],
    ]);
  });

  test('has hover titles, axis ticks, a legend, a description and the data', () => {
    const figure = figures[0] ?? '';
    expect(figure).toContain('<title>mean &amp; spread: 0.5 (step 10)</title>');
    const ticks = [...figure.matchAll(/<text class="tick"[^>]*>([^<]*)</g)].map((match) => match[1]);
    expect(ticks).toEqual([
      '0',
      '0.2',
      '0.4',
      '0.6',
      '0.8',
      '1',
      '0',
      '5',
      '10',
      '15',
      '20',
      '25',
      '30',
      '35',
      '40',
    ]);
    expect(figure.match(/<li>/g)).toHaveLength(2);
    expect(figure).toContain(
      'mean &amp; spread: from 0 at 0 to 1 at 40. held out: from 0.25 at 20 to 0.25 at 20.',
    );
    expect(figure).toContain('<tr><th scope="row">20</th><td></td><td>0.25</td></tr>');
    expect(figure).toContain('aria-labelledby="c0-t c0-d"');
  });

  test('no values and constant values are drawn sensibly', () => {
    expect(figures[1]).toContain('No data.');
    expect(figures[1]).not.toContain('<svg');
    expect(figures[2]).toContain('d="M56,127L544,127"'); // In the middle: (14 + 240) / 2.
    expect(figures[2]).toContain('>tokens</text>');
    expect(figures[2]).toContain('constant: 40 (update 2)');
    expect(figures[2]).not.toContain('class="legend"');
  });

  test('a long series keeps its whole line but few hover targets, including the last', () => {
    const points = Array.from({ length: 1000 }, (_, i) => [i, Math.sin(i / 50)] as const);
    const long = renderReport({
      title: 't',
      summary: 's',
      charts: [{ title: 'c', series: [{ label: 'l', points }] }],
    });
    expect(long.match(/<path class="line s0" d="([^"]*)"/)?.[1]?.match(/[ML]/g)).toHaveLength(1000);
    const marks = long.match(/<circle/g) ?? [];
    expect(marks.length).toBeLessThanOrEqual(121);
    expect(long).toContain('(step 999)');
  });
});

test('samples stand side by side, with the change', () => {
  const custom = renderReport({ ...report, sampleLabels: ['after SFT', 'after RL'] });
  expect(custom).toContain('<h4>after SFT</h4>');
  expect(html).toContain('rank none, reward 0</p>');
  expect(html).toContain('rank 1, reward 1 <span class="better">better</span>');
  expect(html).toContain('rank 12, reward 0.2702 <span class="worse">worse</span>');
});
