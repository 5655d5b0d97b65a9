/** What a stage of training came to, as its run folder keeps it. */
import { join } from 'node:path';
import { z } from 'zod';
import { exists, type Metrics, readJson, validate } from '../run/index.js';

export const STAGES = ['pretrain', 'sft', 'rl'] as const;
export type Stage = (typeof STAGES)[number];

/** Names in the run folder of a stage. */
export const RESULT = 'result.json';
export const MODEL = 'model';

export interface StageResult {
  stage: Stage;
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
  stage: z.enum(STAGES),
  steps: z.int(),
  metrics: z.record(z.string(), z.number().nullable()),
  validation: z.record(z.string(), z.number()).nullable(),
});

/** The result of a stage that has ended; undefined where it has not. */
export async function finishedStage(folder: string): Promise<StageResult | undefined> {
  const model = join(folder, MODEL);
  if (!(await exists(model))) return undefined;
  const path = join(folder, RESULT);
  return { ...validate(resultSchema, await readJson(path), path), run: folder, model };
}
