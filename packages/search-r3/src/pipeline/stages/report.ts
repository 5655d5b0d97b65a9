/** The end of a whole run: its report, and the model of its last stage as the model of the run. */
import { cp } from 'node:fs/promises';
import { join } from 'node:path';
import { MODEL_FOLDER } from '../../checkpoint/index.js';
import { publishFolder, writeFileAtomic } from '../../run/index.js';
import { type Report, renderReport } from '../../run/report/index.js';
import { runReport } from '../report/run-report.js';
import { MODEL, REPORT, type StageResult } from '../result.js';
import type { Stage } from './stage.js';

export interface ReportSettings {
  /** Run folder of the whole. */
  folder: string;
  /** As its `config.yaml` shows it. */
  config: Record<string, unknown>;
}

export interface ReportInput {
  /** Of the stages, in order. */
  results: readonly StageResult[];
}

/** Paths of the model and the report. */
export interface Published {
  model: string;
  report: string;
}

export const reportStage: Stage<ReportSettings, ReportInput, Published> = {
  name: 'report',
  inputs: ['results'],
  outputs: [REPORT, MODEL],
  run: async ({ folder, config }, { results }) =>
    publishRun(folder, await runReport(folder, config, results), results),
};

/** Writes the report into `folder`, and a copy of the last stage's model. */
export async function publishRun(
  folder: string,
  content: Report,
  results: readonly StageResult[],
): Promise<Published> {
  const last = results.at(-1);
  if (last === undefined) throw new Error('internal: a run without a stage');
  const [report, model] = [join(folder, REPORT), join(folder, MODEL)];
  await writeFileAtomic(report, renderReport(content));
  await publishFolder(model, (made) => cp(last.model, made, { recursive: true }), {
    replace: true,
    kind: MODEL_FOLDER,
  });
  return { model, report };
}
