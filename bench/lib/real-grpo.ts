/**
 * Whole steps of GRPO in the `real` benchmark: 16 claims of SciFact x 8 completions of at most 44 tokens, an adapter of rank
 * 16. Ours on an int8 base, with an environment that encodes 5 % of SciFact at each step; TRL's in bfloat16, with rewards
 * that cost nothing. Both sample from the same model after the same prompts, and end at the same tokens.
 */
import { join } from 'node:path';
import type { BenchmarkOptions } from './benchmark.js';
import { REAL_CACHE } from './paths.js';
import { type Peer, startPeer } from './peer.js';
import type { RealModel } from './real-inputs.js';
import { ENVIRONMENT } from './real-ours.js';
import { installed, NOT_INSTALLED, threadCount } from './real-systems.js';
import type { Part, Row } from './real-table.js';
import { grpoFiles } from './real-training-inputs.js';
import { alternate, mean, ratios, summary } from './stats.js';

export interface GrpoStep {
  seconds: number;
  peakMb: number;
  /** Tokens of a completion, on average. */
  completionLength: number;
  /** Of our side: seconds by part. */
  parts?: Record<string, number>;
  /** Of our side: completions that the update reads, documents encoded and their tokens. */
  sizes?: Record<string, number>;
}

const OURS = 'search-r3 lora int8';
const THEIRS = 'TRL lora bf16';
const WORK = 'GRPO step';

export async function grpo(model: RealModel, { quick, log }: BenchmarkOptions): Promise<Part> {
  const { base, inputs } = await grpoFiles(model, quick);
  const peers: Record<string, Peer<GrpoStep>> = {};
  const notes: string[] = [];
  try {
    log('starting; where it was not done before, all of SciFact is encoded');
    const state = join(REAL_CACHE, `environment${quick ? '-quick' : ''}.state`);
    const args = [base, inputs, String(threadCount())];
    peers[OURS] = await startPeer<GrpoStep>('real-grpo-child.js', [...args, state], { env: ENVIRONMENT });
    const python = await installed('python', 'venv/bin/python', log);
    if (python !== undefined) {
      try {
        peers[THEIRS] = await startPeer<GrpoStep>('real_grpo.py', args, { python });
      } catch (error) {
        notes.push(`${WORK}, ${THEIRS}: ${(error as Error).message}`);
      }
    }
    const steps: Record<string, GrpoStep[]> = {};
    const sides: Record<string, () => Promise<number>> = {};
    for (const [name, peer] of Object.entries(peers)) {
      // The first step makes programs.
      log(`${name}, first step: ${JSON.stringify(await peer.ask('step'))}`);
      steps[name] = [];
      sides[name] = async () => {
        const step = await peer.ask('step');
        log(`${name}: ${JSON.stringify(step)}`);
        steps[name].push(step);
        return step.seconds;
      };
    }
    const seconds = await alternate(sides, quick ? 1 : 3);
    const rows: Row[] = [OURS, THEIRS].map((what) => {
      const value = seconds[what] === undefined ? NOT_INSTALLED : summary(seconds[what]);
      return { work: WORK, what, unit: 's', value };
    });
    const ratio = THEIRS in seconds ? summary(ratios(seconds[OURS], seconds[THEIRS])) : undefined;
    if (ratio !== undefined) {
      rows.push({ work: WORK, what: `${OURS} / ${THEIRS}, time`, unit: 'times', value: ratio });
    }
    const parts = meansOf(steps[OURS].map(({ parts: own = {} }) => own));
    for (const [part, value] of Object.entries(parts)) {
      rows.push({ work: WORK, what: `${OURS}, ${part}`, unit: 's', value });
    }
    const lengths: Record<string, number> = {};
    for (const [name, all] of Object.entries(steps)) {
      const value = Math.max(...all.map(({ peakMb }) => peakMb));
      rows.push({ work: WORK, what: `${name}, peak`, unit: 'MB', value });
      lengths[name] = mean(all.map(({ completionLength }) => completionLength));
    }
    const length = Object.entries(lengths).map(([name, value]) => `${name} ${value.toFixed(1)}`);
    const sizes = meansOf(steps[OURS].map(({ sizes: own = {} }) => own));
    const counted = Object.entries(sizes).map(([name, value]) => `${Math.round(value)} ${name}`);
    notes.push(`${WORK}: tokens of a completion: ${length.join(', ')}. Ours: ${counted.join(', ')}.`);
    return { figures: { seconds, ratio, parts, lengths, sizes, steps }, rows, notes };
  } finally {
    await Promise.all(Object.values(peers).map((peer) => peer.stop()));
  }
}

/** By name, the mean over steps; a step that lacks one counts 0. */
function meansOf(all: readonly Readonly<Record<string, number>>[]): Record<string, number> {
  const names = new Set(all.flatMap((each) => Object.keys(each)));
  return Object.fromEntries([...names].map((name) => [name, mean(all.map((each) => each[name] ?? 0))]));
}
