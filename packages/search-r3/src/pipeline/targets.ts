/** `search-r3 targets`: writes the reasoning targets of stage 1 to a file that people look through before training. */
import { InputError } from '../run/index.js';
import { makeTargets } from '../targets/index.js';
import type { TargetSettings } from './config.js';
import { sizedToCollection } from './data/collection-size.js';
import { splitFor } from './data/split.js';
import { loadTraining } from './data/training.js';
import { fittingSft } from './lengths.js';
import { startOf } from './plan.js';
import type { RunOptions } from './run-plan.js';
import { drawnQueries, targetData } from './stages/sft.js';

export interface WrittenTargets {
  file: string;
  /** Targets in the file, and how many of them training uses. */
  targets: number;
  kept: number;
}

/**
 * Writes the targets of the queries that stage 1 draws with these settings. Those that the file has already stay as they
 * are. @throws InputError on anything wrong with settings, data, model or file.
 */
export async function writeTargets(
  asked: TargetSettings,
  options: Pick<RunOptions, 'progress' | 'signal' | 'onNote' | 'source'> = {},
): Promise<WrittenTargets> {
  const { file } = asked.sft.reasoning;
  if (file === undefined) {
    const expected = 'the file to write (--file)';
    throw new InputError({ source: 'settings', field: 'sft.reasoning.file', expected, found: 'none' });
  }
  const base = await startOf(asked, options);
  try {
    const { data } = await loadTraining(asked, splitFor(base, asked, options.onNote));
    const settings = sizedToCollection(asked, { sft: data.sft.length }, options);
    const sft = await fittingSft(settings, base, options.source ?? 'settings');
    const { progress, signal } = options;
    const { order } = drawnQueries(data, sft);
    const made = { ...sft, path: file, progress, signal };
    const targets = await makeTargets(order, targetData(base, data), made);
    const kept = [...targets.values()].filter((target) => target.kept).length;
    return { file, targets: targets.size, kept };
  } finally {
    await base.dispose();
  }
}
