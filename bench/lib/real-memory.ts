/**
 * Memory and loading of the `real` benchmark, on random weights of Qwen2.5's shapes: each with the cache of quantised
 * weights removed first, and with it.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Precision } from 'search-r3/decoder';
import type { BenchmarkOptions } from './benchmark.js';
import { CLI } from './command.js';
import { QUANTISED, REAL_CACHE } from './paths.js';
import { startPeer } from './peer.js';
import type { Inputs } from './real-inputs.js';
import { ENVIRONMENT } from './real-ours.js';
import { randomModel } from './real-random-model.js';
import { oursName, type Timed, threadCount } from './real-systems.js';
import type { Part, Row } from './real-table.js';
import { type Summary, summary } from './stats.js';

const dropCache = () => rm(QUANTISED, { recursive: true, force: true });

type CacheState = 'without cache' | 'with cache';

/** Float32 has no cache. */
const statesOf = (precision: Precision): readonly CacheState[] =>
  precision === 'f32' ? ['without cache'] : ['without cache', 'with cache'];

interface Memory {
  loadSeconds: number;
  /** MB. */
  resident: number;
  anonymous: number;
  peak: number;
  encodeTokensPerSecond: number;
  generateTokensPerSecond: number;
}

/** A process that loads a model, encodes and generates. */
async function memoryOf(folder: string, inputs: string, precision: Precision): Promise<Memory> {
  const args = [folder, inputs, precision, String(threadCount())];
  const child = await startPeer<Timed>('real-child.js', args, { env: ENVIRONMENT });
  try {
    const rate = async (request: string) => {
      const { tokens, seconds } = await child.ask(request);
      return tokens / seconds;
    };
    const encodeTokensPerSecond = await rate('encode');
    await rate('generate 1');
    const generateTokensPerSecond = await rate('generate 4');
    const memory = (await child.ask('memory')) as unknown as Pick<Memory, 'resident' | 'anonymous' | 'peak'>;
    return {
      loadSeconds: Number(child.ready.loadSeconds),
      ...memory,
      ...{ encodeTokensPerSecond, generateTokensPerSecond },
    };
  } finally {
    await child.stop();
  }
}

async function memoryInputs(quick: boolean): Promise<string> {
  const ids = (count: number, length: number, offset: number) =>
    Array.from({ length: count }, (_, row) =>
      Array.from({ length }, (__, i) => (offset + row * 7919 + i * 104_729) % 150_000),
    );
  const inputs: Inputs = {
    abstracts: ids(8, 160, 1),
    prompts: ids(4, 58, 2),
    newTokens: quick ? 4 : 16,
    ...{ scored: [], chats: [], answerTokens: 0 },
  };
  const path = join(REAL_CACHE, 'inputs-memory.json');
  await mkdir(REAL_CACHE, { recursive: true });
  await writeFile(path, JSON.stringify(inputs));
  return path;
}

/** Float32 is left out at full size: it takes more than 6 GB. */
const measured = (quick: boolean): readonly Precision[] =>
  quick ? ['f32', 'int8'] : ['int8', 'int8-block', 'int4'];

export async function memory({ quick, log }: BenchmarkOptions): Promise<Part> {
  const shape = quick ? 'tiny' : '1.5B';
  const folder = await randomModel(shape, log);
  const inputs = await memoryInputs(quick);
  const figures: Record<string, Partial<Record<CacheState, Memory>>> = {};
  const rows: Row[] = [];
  const work = `memory ${shape}`;
  for (const precision of measured(quick)) {
    const system = oursName(precision);
    await dropCache();
    const own: Partial<Record<CacheState, Memory>> = {};
    for (const state of statesOf(precision)) {
      const found = await memoryOf(folder, inputs, precision);
      own[state] = found;
      log(`${work}, ${system}, ${state}: ${JSON.stringify(found)}`);
      rows.push(
        { work, what: `${system}, ${state}, peak`, unit: 'MB', value: found.peak },
        { work, what: `${system}, ${state}, at the end`, unit: 'MB', value: found.resident },
        { work, what: `${system}, ${state}, loading`, unit: 's', value: found.loadSeconds },
      );
    }
    figures[system] = own;
  }
  return { figures, rows };
}

/** Seconds from the start of `search-r3 embed` to its first line. */
async function firstEmbedding(folder: string, precision: Precision): Promise<number> {
  const started = performance.now();
  const args = [CLI, 'embed', '--model', folder, '--precision', precision, 'how do vaccines work'];
  const child = spawn(process.execPath, args, {
    env: { ...process.env, ...ENVIRONMENT },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let complaints = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaints = (complaints + text).slice(-2000);
  });
  let seconds: number | undefined;
  child.stdout.on('data', () => {
    seconds ??= (performance.now() - started) / 1000;
  });
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0 || seconds === undefined)
    throw new Error(`search-r3 embed ended with ${code}: ${complaints}`);
  return seconds;
}

export async function start({ quick, log }: BenchmarkOptions): Promise<Part> {
  const shape = quick ? 'tiny' : '0.5B';
  const folder = await randomModel(shape, log);
  const figures: Record<string, Partial<Record<CacheState, Summary>>> = {};
  const rows: Row[] = [];
  const work = `first embedding ${shape}`;
  for (const precision of ['int8', 'f32'] as const) {
    const system = oursName(precision);
    const own: Partial<Record<CacheState, Summary>> = {};
    for (const state of statesOf(precision)) {
      const seconds: number[] = [];
      for (let round = 0; round < (quick ? 1 : 3); round++) {
        if (state === 'without cache') await dropCache();
        seconds.push(await firstEmbedding(folder, precision));
        log(`${work}, ${system}, ${state}: ${seconds.at(-1)?.toFixed(2)} s`);
      }
      own[state] = summary(seconds);
      rows.push({ work, what: `${system}, ${state}`, unit: 's', value: own[state] });
    }
    figures[system] = own;
  }
  return { figures, rows };
}
