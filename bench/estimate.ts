/**
 * Estimated against measured memory and time of six commands, each in a process of its own: a model from scratch, both
 * stages and an evaluation on the built-in world; a real model (the file that the benchmark `real` reads) on SciFact: full
 * training in pieces, an adapter on an int8 base, and an index. One or two steps each.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BenchmarkOptions, BenchmarkResult } from './lib/benchmark.js';
import { measuredCommand } from './lib/measured-command.js';
import { ROOT, scifactFolder } from './lib/paths.js';
import { realModel } from './lib/real-inputs.js';

export const description = 'estimated memory and time of six commands against what they take';

interface Configuration {
  name: string;
  command: string;
  settings: Record<string, unknown>;
}

const NO_VALIDATION = { validation: { queries: 0 } };
/** Short texts and few queries: a step of seconds. */
const SHORT = { steps: 1, batchSize: 4, maxLength: 160 };

/** The base model that the package brings: from fewer steps, stage 2 has nothing to learn. */
const ATLAS_BASE = join(ROOT, 'packages/search-r3/assets/atlas-base');

/** @param real the folder of the real model. */
function configurations(folder: string, real: string): Configuration[] {
  const at = (name: string) => join(folder, name);
  const scifact = scifactFolder();
  const atlas = { data: 'atlas', ...NO_VALIDATION };
  const onReal = { data: scifact, base: real, ...NO_VALIDATION };
  const lora = { rank: 16, base: 'int8' };
  return [
    {
      name: 'pretrain, 2 M parameters',
      command: 'pretrain',
      settings: { ...atlas, out: at('base'), pretrain: { steps: 100 } },
    },
    {
      name: 'stage 1, 2 M parameters',
      command: 'sft',
      settings: { ...atlas, base: ATLAS_BASE, out: at('sft'), sft: { steps: 60 } },
    },
    {
      name: 'stage 2, 2 M parameters',
      command: 'rl',
      settings: { ...atlas, model: at('sft/model'), out: at('rl'), rl: { steps: 5 } },
    },
    {
      name: 'stage 1, 135 M, in pieces',
      command: 'sft',
      settings: { ...onReal, out: at('full'), sft: { ...SHORT, optimization: { maxTokens: 640 } } },
    },
    {
      name: 'stage 1, 135 M, adapter on int8',
      command: 'sft',
      settings: { ...onReal, out: at('lora'), lora, sft: { ...SHORT, batchSize: 8 } },
    },
    {
      name: 'index, 135 M, int8',
      command: 'index',
      settings: {
        ...{ data: scifact, model: real, index: { folder: at('index') } },
        embed: { precision: 'int8', maxLength: 32 },
      },
    },
  ];
}

const GB = 1e9;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const folder = await mkdtemp(join(tmpdir(), 'estimate-'));
  const rows: { name: string; memory: number; time: number; peakGb: number; seconds: number }[] = [];
  try {
    const real = quick ? undefined : await realModel(false, log);
    if (real !== undefined && 'missing' in real) throw new Error(real.missing);
    const all = configurations(folder, real?.folder ?? '');
    for (const { name, command, settings } of quick ? all.slice(0, 2) : all) {
      const { estimated, measured } = await measuredCommand(command, settings, folder);
      const row = {
        name,
        memory: estimated.peak / measured.peak,
        time: estimated.seconds / measured.seconds,
        peakGb: measured.peak / GB,
        seconds: measured.seconds,
      };
      rows.push(row);
      log(
        `${name}: ${row.peakGb.toFixed(2)} GB (estimated ${row.memory.toFixed(2)} times), ` +
          `${row.seconds.toFixed(1)} s (estimated ${row.time.toFixed(2)} times)`,
      );
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  const table = [
    '| command | peak, GB | estimated / measured | seconds | estimated / measured |',
    '|---|---|---|---|---|',
    ...rows.map(
      ({ name, memory, time, peakGb, seconds }) =>
        `| ${name} | ${peakGb.toFixed(2)} | ${memory.toFixed(2)} | ${seconds.toFixed(1)} | ${time.toFixed(2)} |`,
    ),
  ].join('\n');
  return { figures: rows, sizes: { commands: rows.length }, seeds: [0], table };
}
