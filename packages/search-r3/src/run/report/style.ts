/** The style sheet of a report: light or dark by the reader's preference, readable in print and on a phone. */
export const STYLE = `
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --text: #1c2128; --dim: #57606a; --rule: #d5dae1;
  --good: #1a7f4b; --bad: #b3372a;
  --c0: #1f6fb4; --c1: #c4501a; --c2: #1d7f55; --c3: #8247b0; --c4: #8c6510; --c5: #59636e; }
@media (prefers-color-scheme: dark) { :root { --page: #111418; --card: #1a1e24; --text: #e4e8ed; --dim: #9aa4b0;
  --rule: #343b45; --good: #5cc997; --bad: #ff8f80;
  --c0: #6cb0ee; --c1: #ff9a62; --c2: #5cc997; --c3: #c79bef; --c4: #e3be6a; --c5: #a9b3c0; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; }
h2 { font-size: 1.2rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: 1rem; margin: 0 0 .75rem; }
.lead { color: var(--dim); max-width: 75ch; margin: 0 0 1rem; white-space: pre-line; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: 1rem; margin: 0; }
.grid-2 { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); align-items: start; }
figcaption { font-weight: 600; margin-bottom: .5rem; }
figure svg { display: block; width: 100%; height: auto; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--dim); padding-bottom: .5rem; }
th, td { padding: .35rem .75rem; border-bottom: 1px solid var(--rule); text-align: right; }
th:first-child, td:first-child { text-align: left; }
thead th { color: var(--dim); font-weight: 600; }
tbody th { font-weight: 400; }
details { margin-top: .5rem; color: var(--dim); font-size: .875rem; }
details .scroll { max-height: 16rem; overflow-y: auto; }
summary { cursor: pointer; }
.grid { stroke: var(--rule); stroke-width: 1; }
.axis { stroke: var(--dim); stroke-width: 1; }
.tick, .label { fill: var(--dim); font-size: 12px; }
.line { fill: none; stroke: currentColor; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.mark { fill: currentColor; opacity: 0; }
.mark:hover, .mark.alone { opacity: 1; }
.s0 { color: var(--c0); } .s1 { color: var(--c1); stroke-dasharray: 7 4; } .s2 { color: var(--c2); stroke-dasharray: 2 4; }
.s3 { color: var(--c3); stroke-dasharray: 10 4 2 4; } .s4 { color: var(--c4); stroke-dasharray: 4 3; }
.s5 { color: var(--c5); stroke-dasharray: 12 5; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; margin: .5rem 0 0; font-size: .875rem; }
.legend svg { display: inline-block; width: 28px; height: 8px; margin-right: .4rem; vertical-align: middle; }
.samples { display: grid; gap: 1rem; }
.sample h4 { margin: 0 0 .25rem; font-size: .875rem; color: var(--dim); font-weight: 600; }
.sample blockquote { margin: 0 0 .5rem; padding: 0 0 0 .75rem; border-left: 3px solid var(--rule); white-space: pre-wrap; overflow-wrap: anywhere; }
.facts { margin: 0; font-size: .875rem; color: var(--dim); }
.better { color: var(--good); font-weight: 600; } .worse { color: var(--bad); font-weight: 600; }
.empty { color: var(--dim); }
@media print { body { background: none; } .card { break-inside: avoid; } details { display: none; } }
`;
