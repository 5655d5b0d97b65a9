/** What a training stage achieved, as its run folder keeps it. Loads nothing heavy: `inspect` reads it too. */
import { join } from 'node:path';
import { z } from 'zod';
import { exists, type Metrics, readJson, validate } from '../run/index.js';

/** The stages that train a model, in order. */
export const STAGE_NAMES = ['pretrain', 'sft', 'rl'] as const;
export type StageName = (typeof STAGE_NAMES)[number];

/** Names in a run folder. */
export const RESULT = 'result.json';
export const REPORT = 'report.html';
export const MODEL = 'model';

export interface StageResult {
  stage: StageName;
  /** Finished steps, and the metrics of the last. */
  steps: number;
  metrics: Metrics;
  /** nDCG@10 on validation queries by system, after the last step; null where there are none. */
  validation: Record<string, number> | null;
  /** Folders of the run and of its model. */
  run: string;
  model: string;
}

const resultSchema = z.strictObject({
  stage: z.enum(STAGE_NAMES),
  steps: z.int(),
  metrics: z.record(z.string(), z.number().nullable()),
  validation: z.record(z.string(), z.number()).nullable(),
});

/** The result of a stage that has finished; undefined if it has not. */
export async function finishedStage(folder: string): Promise<StageResult | undefined> {
  const model = join(folder, MODEL);
  if (!(await exists(model))) return undefined;
  const path = join(folder, RESULT);
  return { ...validate(resultSchema, await readJson(path), path), run: folder, model };
}
