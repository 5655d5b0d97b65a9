/**
 * Contrastive steps of SmolLM2 in the `real` benchmark: forward, backward, clipping and AdamW, with the same tokens, objective
 * and initial adapter in search-r3 and in transformers with PEFT. Queries and documents of SciFact end with the embed
 * token, where they are read.
 */
import type { BenchmarkOptions, Log } from './benchmark.js';
import { type Peer, startPeer } from './peer.js';
import type { RealModel } from './real-inputs.js';
import { ENVIRONMENT } from './real-ours.js';
import { installed, NOT_INSTALLED, type Timed, threadCount } from './real-systems.js';
import type { Part, Row } from './real-table.js';
import { contrastiveFiles } from './real-training-inputs.js';
import { alternate, ratios, summary } from './stats.js';

interface Step extends Timed {
  loss: number;
  /** Of the gradient before it is clipped. */
  norm: number;
}

/** Ours, and what a user would pick instead. One pair runs at a time: together they would not fit into memory. */
const PAIRS = [
  ['lora int8', 'lora bf16'],
  ['lora f32', 'lora f32'],
  ['full f32', 'full f32'],
] as const;
type Pair = (typeof PAIRS)[number];

/** Largest relative difference of losses and gradient norms where both sides compute in float32. */
const TOLERANCE = 1e-3;

interface Batch {
  queries: number;
  cached: boolean;
  pairs: readonly Pair[];
  rounds: number;
}

/** A batch that fits into memory in one pass, and one that needs a gradient cache. */
const BATCHES: readonly Batch[] = [
  { queries: 8, cached: false, pairs: PAIRS, rounds: 3 },
  { queries: 32, cached: true, pairs: PAIRS, rounds: 2 },
];
const QUICK: readonly Batch[] = [
  { queries: 2, cached: false, pairs: PAIRS, rounds: 1 },
  { queries: 3, cached: true, pairs: [PAIRS[0]], rounds: 1 },
];

export async function contrastive(model: RealModel, options: BenchmarkOptions): Promise<Part> {
  const rows: Row[] = [];
  const notes: string[] = [];
  const figures: Record<string, unknown> = {};
  // Found with the small batch, used with the large one too.
  const requests = new Map<string, string>();
  for (const batch of options.quick ? QUICK : BATCHES) {
    for (const pair of batch.pairs) {
      const part = await measure(model, batch, pair, requests, options);
      figures[`${batch.queries} queries, ${pair.join(' against ')}`] = part.figures;
      rows.push(...part.rows);
      notes.push(...(part.notes ?? []));
    }
  }
  return { figures, rows, notes };
}

/** Tokens/s of whole steps of both sides, without padding. */
async function measure(
  model: RealModel,
  { queries, cached, rounds }: Batch,
  pair: Pair,
  requests: Map<string, string>,
  { quick, log }: BenchmarkOptions,
): Promise<Part> {
  const { base, adapter, inputs } = await contrastiveFiles(model, queries, cached);
  const work = `train, ${queries} queries`;
  const [own, other] = [`search-r3 ${pair[0]}`, `transformers ${pair[1]}`];
  const args = (kind: string) => [base, inputs, ...kind.split(' '), String(threadCount()), adapter];
  const peers: Record<string, Peer<Step>> = {};
  try {
    peers[own] = await startPeer<Step>('real-training-child.js', args(pair[0]), { env: ENVIRONMENT });
    const python = await installed('python', 'venv/bin/python', log);
    if (python !== undefined) {
      peers[other] = await startPeer<Step>('real_training.py', args(pair[1]), { python });
    }
    // The first step makes programs; it also tells whether both sides compute the same.
    const first: Record<string, Step> = {};
    for (const [name, peer] of Object.entries(peers)) {
      first[name] = await peer.ask('step');
      log(`${work}, ${name}: ${JSON.stringify(first[name])}`);
    }
    const note = python === undefined ? undefined : comparison(work, pair, first[own], first[other]);
    if (note?.differs) {
      const row = { work, what: `${own} / ${other}`, unit: '', value: 'differ' };
      return { figures: { first }, rows: [row], notes: [note.text] };
    }
    const peakMb: Record<string, number> = {};
    const sides: Record<string, () => Promise<number>> = {};
    for (const [name, peer] of Object.entries(peers)) {
      const request = requests.get(name) ?? (quick ? 'step' : await tuned(name, peer, log));
      requests.set(name, request);
      sides[name] = async () => {
        const { tokens, seconds, peakMb: peak } = await peer.ask(request);
        peakMb[name] = peak;
        return tokens / seconds;
      };
    }
    const rates = await alternate(sides, rounds, (round, values) => {
      const line = Object.entries(values).map(([name, all]) => `${name} ${all[round].toPrecision(4)}`);
      log(`${work}, round ${round + 1} of ${rounds}: ${line.join(', ')}`);
    });
    const tokensPerSecond = Object.fromEntries(
      Object.entries(rates).map(([name, all]) => [name, summary(all)]),
    );
    const ratio = python === undefined ? undefined : summary(ratios(rates[own], rates[other]));
    const rows: Row[] = [
      ...[own, other].map((what) => ({
        ...{ work, what, unit: 'tokens/s' },
        value: tokensPerSecond[what] ?? NOT_INSTALLED,
      })),
      ...(ratio === undefined
        ? []
        : [{ work, what: `${own} / ${other}`, unit: 'times', value: ratio } satisfies Row]),
      ...Object.entries(peakMb).map(([what, value]) => ({ work, what: `${what}, peak`, unit: 'MB', value })),
    ];
    const asked = Object.fromEntries(Object.keys(peers).map((name) => [name, requests.get(name)]));
    const figures = { tokensPerSecond, ratio, peakMb, first, requests: asked };
    return { figures, rows, notes: note === undefined ? [] : [note.text] };
  } finally {
    await Promise.all(Object.values(peers).map((peer) => peer.stop()));
  }
}

/** The request with the fastest of the group sizes that a peer wants tried, one step each. */
async function tuned(name: string, peer: Peer<Step>, log: Log): Promise<string> {
  let best = { request: 'step', seconds: Number.POSITIVE_INFINITY };
  for (const size of (peer.ready.groups ?? []) as number[]) {
    const { seconds } = await peer.ask(`step ${size}`);
    log(`${name}, groups of ${size}: ${seconds.toPrecision(3)} s`);
    if (seconds < best.seconds) best = { request: `step ${size}`, seconds };
  }
  return best.request;
}

/** What the first step says about both sides. Only in float32 are they to agree. */
function comparison(work: string, pair: Pair, ours: Step, theirs: Step): { text: string; differs: boolean } {
  const apart = Math.max(...(['loss', 'norm'] as const).map((key) => Math.abs(ours[key] / theirs[key] - 1)));
  const exact = pair.every((kind) => kind.endsWith('f32'));
  const numbers = (key: 'loss' | 'norm') => `${ours[key].toFixed(4)} and ${theirs[key].toFixed(4)}`;
  const text = `${work}, ${pair.join(' and ')}: loss ${numbers('loss')}, gradient norm ${numbers('norm')}, at most ${apart.toExponential(1)} apart.`;
  return { text, differs: exact && !(apart <= TOLERANCE) };
}
