/** Tokens per second of the `real` benchmark: encoding, and generation with one sequence and with many. */
import type { BenchmarkOptions } from './benchmark.js';
import type { Peer } from './peer.js';
import type { RealModel } from './real-inputs.js';
import { earlier, llama, ours, oursName, type System, type Timed, transformers } from './real-systems.js';
import type { Part, Row } from './real-table.js';
import { alternate, ratios, type Summary, summary } from './stats.js';

const SYSTEMS: readonly System[] = [
  ours('int8'),
  ours('f32'),
  earlier,
  transformers('bf16'),
  transformers('f32'),
  llama,
];

/** One side over the other, by round. */
const RATIOS = [
  [oursName('int8'), 'transformers bf16'],
  [oursName('int8'), oursName('f32')],
  [oursName('int8'), earlier.name],
  [oursName('f32'), earlier.name],
  [oursName('int8'), llama.name],
  [oursName('f32'), 'transformers f32'],
  [oursName('f32'), llama.name],
] as const;

const WORKS = ['encode', 'generate 1', 'generate 24'] as const;

interface WorkFigures {
  /** By system; why there is none where it did not run. */
  tokensPerSecond: Record<string, Summary | string>;
  ratios: Record<string, Summary>;
  /** What each system was asked, with the batch size that was chosen. */
  requests: Record<string, string>;
  /** Of the process so far. */
  peakMb: Record<string, number>;
}

/** Tokens/s; those of generation count the new tokens, over a time that includes reading the prompts. */
export async function speed(model: RealModel, options: BenchmarkOptions): Promise<Part> {
  const running = new Map<string, Peer<Timed>>();
  const missing: Record<string, string> = {};
  const figures: Record<string, WorkFigures> = {};
  try {
    for (const system of SYSTEMS) {
      const peer = await system.start<Timed>(model, options.log);
      if (typeof peer === 'string') missing[system.name] = peer;
      else running.set(system.name, peer);
    }
    for (const work of WORKS) {
      const measured = await measure(work, running, options);
      figures[work] = { ...measured, tokensPerSecond: { ...missing, ...measured.tokensPerSecond } };
    }
  } finally {
    await Promise.all([...running.values()].map((peer) => peer.stop()));
  }
  const versions = [...new Set([...running.values()].map(({ ready }) => String(ready.version)))];
  return {
    figures: { ...figures, versions },
    rows: WORKS.flatMap((work) => rowsOf(work, figures[work])),
    notes: versions,
  };
}

async function measure(
  work: string,
  running: ReadonlyMap<string, Peer<Timed>>,
  { quick, log }: BenchmarkOptions,
): Promise<WorkFigures> {
  const requests: Record<string, string> = {};
  const peakMb: Record<string, number> = {};
  const sides: Record<string, () => Promise<number>> = {};
  for (const [system, peer] of running) {
    const request = work === 'encode' ? await tunedRequest(system, peer, work, quick, log) : work;
    requests[system] = request;
    sides[system] = async () => {
      const timed = await peer.ask(request);
      peakMb[system] = timed.peakMb;
      return rateOf(timed);
    };
    // The first time compiles programs and makes caches.
    await sides[system]();
  }
  const rounds = quick ? 2 : 5;
  const rates = await alternate(sides, rounds, (round, values) => {
    const line = Object.entries(values).map(([system, own]) => `${system} ${own[round].toPrecision(4)}`);
    log(`${work}, round ${round + 1} of ${rounds}: ${line.join(', ')}`);
  });
  const both = RATIOS.filter(([a, b]) => a in rates && b in rates);
  return {
    tokensPerSecond: Object.fromEntries(Object.entries(rates).map(([system, own]) => [system, summary(own)])),
    ratios: Object.fromEntries(both.map(([a, b]) => [`${a} / ${b}`, summary(ratios(rates[a], rates[b]))])),
    ...{ requests, peakMb },
  };
}

const rateOf = ({ tokens, seconds }: Timed): number => tokens / seconds;

/** The request with the best batch size of those that the system wants tried. */
async function tunedRequest(
  system: string,
  peer: Peer<Timed>,
  request: string,
  quick: boolean,
  log: BenchmarkOptions['log'],
): Promise<string> {
  const sizes = (peer.ready.batches ?? []) as number[];
  if (sizes.length === 0) return request;
  let best = { size: sizes[0], rate: 0 };
  for (const size of quick ? sizes.slice(0, 2) : sizes) {
    const tries: number[] = [];
    for (let i = 0; i < 2; i++) tries.push(rateOf(await peer.ask(`${request} ${size}`)));
    const rate = Math.max(...tries);
    log(`${system}, batches of ${size}: ${rate.toPrecision(4)} tokens/s`);
    if (rate > best.rate) best = { size, rate };
  }
  return `${request} ${best.size}`;
}

function rowsOf(work: string, figures: WorkFigures): Row[] {
  return [
    ...SYSTEMS.map(({ name }) => ({
      ...{ work, what: name, unit: 'tokens/s' },
      value: figures.tokensPerSecond[name],
    })),
    ...Object.entries(figures.ratios).map(([what, value]) => ({ work, what, unit: 'times', value })),
  ];
}
