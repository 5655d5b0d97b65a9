/**
 * Training of the `real` benchmark. REAL_TRAINING names what is measured, separated by commas: `contrastive` steps and steps
 * of `grpo` of SmolLM2 against what is used in Python, and the memory of stage 1 at the `shapes` of larger models. Default
 * all.
 */
import type { BenchmarkOptions } from './benchmark.js';
import { contrastive } from './real-contrastive.js';
import { grpo } from './real-grpo.js';
import type { RealModel } from './real-inputs.js';
import { shapes } from './real-shapes.js';
import type { Part } from './real-table.js';
import { wordsOf } from './settings.js';

const WORKS = ['contrastive', 'grpo', 'shapes'] as const;

/** @param model undefined with the reason where the model or SciFact is missing. */
export async function training(
  model: RealModel | { missing: string },
  options: BenchmarkOptions,
): Promise<Part> {
  const figures: Record<string, unknown> = {};
  const whole: Required<Part> = { figures, rows: [], notes: [] };
  const keep = (name: string, part: Part) => {
    figures[name] = part.figures;
    whole.rows.push(...part.rows);
    whole.notes.push(...(part.notes ?? []));
  };
  for (const work of wordsOf('REAL_TRAINING', WORKS)) {
    if (work === 'shapes') keep(work, await shapes(options));
    else if ('missing' in model) {
      const row = { work: `train, ${work}`, what: 'SmolLM2', unit: '', value: 'skipped' };
      keep(work, { figures: model.missing, rows: [row], notes: [`train, ${work}: ${model.missing}.`] });
    } else keep(work, await (work === 'grpo' ? grpo : contrastive)(model, options));
  }
  return whole;
}
