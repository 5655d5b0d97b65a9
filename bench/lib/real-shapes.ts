/**
 * Memory of stage 1 in the `real` benchmark at the shapes of larger models with random weights: one step with an adapter on an
 * int8 base, all terms of the loss, 32 queries, in a process that quantises the weights first.
 */
import { rm } from 'node:fs/promises';
import type { BenchmarkOptions } from './benchmark.js';
import { QUANTISED } from './paths.js';
import { startPeer } from './peer.js';
import { ENVIRONMENT } from './real-ours.js';
import { type RandomShape, randomModel } from './real-random-model.js';
import { type Timed, threadCount } from './real-systems.js';
import type { Part, Row } from './real-table.js';

export interface ShapeStep extends Timed {
  /** After loading, before the step. */
  loadedPeakMb: number;
  loss: number;
}

/** With the memory that is to be enough, in MB; undefined where that says nothing. */
const SHAPES: readonly { shape: RandomShape; limit?: number }[] = [
  { shape: '0.5B', limit: 6 * 1024 },
  { shape: '1.5B', limit: 12 * 1024 },
];
const QUICK: typeof SHAPES = [{ shape: 'tiny' }];

export async function shapes({ quick, log }: BenchmarkOptions): Promise<Part> {
  const figures: Record<string, ShapeStep> = {};
  const rows: Row[] = [];
  const notes: string[] = [];
  for (const { shape, limit } of quick ? QUICK : SHAPES) {
    const folder = await randomModel(shape, log);
    await rm(QUANTISED, { recursive: true, force: true });
    const args = [folder, String(threadCount()), String(quick ? 2 : 32)];
    const child = await startPeer<ShapeStep>('real-shapes-child.js', args, { env: ENVIRONMENT });
    try {
      const step = await child.ask('step');
      figures[shape] = step;
      log(`stage 1, ${shape}: ${JSON.stringify(step)}`);
      const work = `stage 1, ${shape}`;
      rows.push(
        { work, what: 'lora int8, peak', unit: 'MB', value: step.peakMb },
        { work, what: 'lora int8, peak of loading', unit: 'MB', value: step.loadedPeakMb },
        { work, what: 'lora int8, first step', unit: 's', value: step.seconds },
        { work, what: 'lora int8, first step', unit: 'tokens/s', value: step.tokens / step.seconds },
      );
      if (limit !== undefined) {
        notes.push(
          `${work}: ${step.peakMb <= limit ? 'within' : 'over'} ${limit / 1024} GiB (${limit} MB; a MB is 2^20 bytes).`,
        );
      }
    } finally {
      await child.stop();
    }
  }
  return { figures, rows, notes };
}
