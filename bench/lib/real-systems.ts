/** The systems of the `real` benchmark: ours at each precision, and the peers, which are installed where they are missing. */
import { spawn } from 'node:child_process';
import os from 'node:os';
import { join } from 'node:path';
import type { Precision } from 'search-r3/decoder';
import { exists } from 'search-r3/run';
import type { Log } from './benchmark.js';
import { ROOT } from './paths.js';
import { type Peer, startPeer } from './peer.js';
import type { RealModel } from './real-inputs.js';
import { ENVIRONMENT } from './real-ours.js';
import { numbersOf } from './settings.js';

/** Threads of every system: REAL_THREADS, or the number of cores. */
export const threadCount = (): number => numbersOf('REAL_THREADS')?.[0] ?? os.cpus().length;

/** Of a request for speed. */
export interface Timed {
  tokens: number;
  seconds: number;
  peakMb: number;
}

/** Of the request `score`. */
export interface Score {
  sequences: number;
  logLikelihood: number;
  predicted: number;
  /** Last hidden states, rows of unit length: base64 of float32. */
  vectors: string;
}

/** Of the request `greedy`. */
export interface Greedy {
  prompts: number[][];
  answers: number[][];
  texts: string[];
}

export interface System {
  name: string;
  /** @returns the running system, or why there is none. */
  start<Answer>(model: RealModel, log: Log): Promise<Peer<Answer> | string>;
}

export const oursName = (precision: Precision): string => `search-r3 ${precision}`;

export const ours = (precision: Precision): System => ({
  name: oursName(precision),
  async start<Answer>({ gguf, inputs }: RealModel) {
    const args = [gguf, inputs, precision, String(threadCount())];
    return startPeer<Answer>('real-child.js', args, { env: ENVIRONMENT });
  },
});

export const transformers = (dtype: 'f32' | 'bf16'): System => ({
  name: `transformers ${dtype}`,
  async start<Answer>({ folder, inputs }: RealModel, log: Log) {
    const python = await installed('python', 'venv/bin/python', log);
    if (python === undefined) return NOT_INSTALLED;
    const args = [folder, inputs, dtype, String(threadCount())];
    return startPeer<Answer>('real_transformers.py', args, { python });
  },
});

export const llama: System = {
  name: 'llama.cpp Q4_1',
  async start<Answer>({ gguf, inputs }: RealModel, log: Log) {
    const folder = await installed('llama', 'llama/node_modules/node-llama-cpp', log);
    if (folder === undefined) return NOT_INSTALLED;
    return startPeer<Answer>('real_llama.mjs', [folder, gguf, inputs, String(threadCount())]);
  },
};

/** Float32 at the commit that progress is measured from, where REAL_EARLIER names a built checkout of it. */
export const earlier: System = {
  name: 'search-r3 f32 at d815b6c',
  async start<Answer>({ folder, inputs }: RealModel) {
    const checkout = process.env.REAL_EARLIER;
    if (checkout === undefined) return 'not built';
    return startPeer<Answer>('real_earlier.mjs', [checkout, folder, inputs, String(threadCount())]);
  },
};

export const NOT_INSTALLED = 'not installed';

/** Peers that could not be installed; asked for once. */
const failed = new Set<string>();

/** The path of a peer below .cache/peers, installed if it is not there; undefined if that fails. */
export async function installed(
  peer: 'python' | 'llama',
  path: string,
  log: Log,
): Promise<string | undefined> {
  const full = join(ROOT, '.cache/peers', path);
  if (await exists(full)) return full;
  if (failed.has(peer)) return undefined;
  log(`installing the peer ${peer} into .cache/peers, once`);
  const complaint = await install(peer);
  if (complaint === undefined) return full;
  failed.add(peer);
  log(`bench/peers/install.sh ${peer} failed, so its rows stay empty: ${complaint}`);
  return undefined;
}

/** @returns the end of what it complained about if it fails. */
function install(peer: string): Promise<string | undefined> {
  const child = spawn(join(ROOT, 'bench/peers/install.sh'), [peer], { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-500);
  });
  return new Promise((done) => {
    child.on('error', (error) => done(error.message));
    child.on('close', (code) => done(code === 0 ? undefined : complaints.trim() || `exit code ${code}`));
  });
}
