/**
 * A real model against what a user would pick instead: SmolLM2-135M-Instruct in search-r3, transformers and llama.cpp.
 * The peers are installed into .cache/peers where they are missing; a system that cannot be had has rows that say so.
 * Parts: `speed` encodes and generates, all systems in alternation; `memory` and `start` load random weights of
 * Qwen2.5's shapes; `quality` compares precisions; `training` makes contrastive steps and steps of GRPO. Settings:
 * REAL_MODEL (the GGUF file), SCIFACT, REAL_THREADS, REAL_EARLIER (a built checkout of d815b6c), REAL_SCIFACT_MODEL and
 * REAL_ATLAS_MODEL (trained folders), REAL_TRAINING (what `training` measures).
 */
import type { BenchmarkOptions, BenchmarkResult } from './lib/benchmark.js';
import { machineInfo } from './lib/machine.js';
import { realModel } from './lib/real-inputs.js';
import { memory, start } from './lib/real-memory.js';
import { greedyText, precisions, retrieval } from './lib/real-quality.js';
import { speed } from './lib/real-speed.js';
import { threadCount } from './lib/real-systems.js';
import { type Part, type Row, tableOf } from './lib/real-table.js';
import { training } from './lib/real-training.js';
import { rounded } from './lib/stats.js';

export const description =
  'SmolLM2-135M against transformers, PEFT, TRL and llama.cpp; memory and quality of precisions';

export const parts = ['speed', 'memory', 'start', 'quality', 'training'] as const;

export async function run(options: BenchmarkOptions): Promise<BenchmarkResult> {
  const { quick, part: only, log } = options;
  const chosen: readonly (typeof parts)[number][] = parts.filter(
    (name) => only === undefined || name === only,
  );
  const figures: Record<string, unknown> = {};
  const rows: Row[] = [];
  const notes: string[] = [`${machineInfo().instructions}; threads: ${threadCount()}`];
  const keep = (name: string, part: Part) => {
    figures[name] = part.figures;
    rows.push(...part.rows);
    notes.push(...(part.notes ?? []));
  };
  const needed = chosen.some((name) => name === 'speed' || name === 'quality' || name === 'training');
  const model = needed ? await realModel(quick, log) : { missing: 'not asked for' };
  const skipped = (work: string, { missing }: { missing: string }) =>
    keep(work, {
      figures: missing,
      rows: [{ work, what: 'SmolLM2', unit: '', value: 'skipped' }],
      notes: [`${work}: ${missing}.`],
    });
  for (const name of chosen) {
    switch (name) {
      case 'speed':
        if ('missing' in model) skipped(name, model);
        else keep(name, await speed(model, options));
        break;
      case 'memory':
        keep(name, await memory(options));
        break;
      case 'start':
        keep(name, await start(options));
        break;
      case 'quality':
        if ('missing' in model) skipped(name, model);
        else {
          keep('precisions', await precisions(model, options));
          keep('greedyText', await greedyText(model, options));
        }
        keep('retrieval', await retrieval(options));
        break;
      case 'training':
        keep(name, await training(model, options));
        break;
      default:
        name satisfies never;
    }
  }
  return {
    figures: rounded(figures, 5),
    sizes: { threads: threadCount(), parts: chosen },
    table: tableOf(rows, notes),
    ...(quick && { note: 'quick: shows that everything runs; the figures mean nothing' }),
  };
}
