/** A stage in its run folder: from settings that have been checked to `model/`, a result and a report. */
import { join } from 'node:path';
import { type Checkpoint, saveCheckpoint } from '../checkpoint/index.js';
import {
  exists,
  type ProgressReporter,
  RunFolder,
  type RunFolderOptions,
  removeFolder,
} from '../run/index.js';
import { renderReport } from '../run/report/index.js';
import type { LoopOptions } from '../sft/index.js';
import { readSteps } from './curves.js';
import { runReport } from './run-report.js';
import { finishedStage, MODEL, RESULT, type Stage, type StageResult } from './stage-result.js';

/** How a training command runs, beside its settings. */
export interface RunOptions {
  /** Go on where the run in the folder stands. */
  resume?: boolean;
  /** Replace the run in the folder. */
  overwrite?: boolean;
  progress?: ProgressReporter;
  signal?: AbortSignal;
  /** Called with what is going on, for people. */
  onNote?: (text: string) => void;
  /** Names the settings in errors. Default `settings`. */
  source?: string;
}

export interface StageRun {
  stage: Stage;
  folder: string;
  /** Everything the run follows from, as plain values. */
  config: Record<string, unknown>;
  /** Keys of the config that a resumed run may have otherwise. */
  mayChange: readonly string[];
  saveEvery: number;
  train: (loop: LoopOptions) => Promise<Checkpoint>;
  /** nDCG@10 on validation queries, by system. */
  evaluate?: (() => Promise<Record<string, number>>) | undefined;
}

/** Trains in the run folder and leaves model, result and report there; the model last, whole. */
export async function runStage(stageRun: StageRun, options: RunOptions): Promise<StageResult> {
  const { stage, folder, config, mayChange, saveEvery, train, evaluate } = stageRun;
  const { progress, signal } = options;
  const run = await RunFolder.create(folder, config, { ...existing(options), mayChange });
  return within(run, async () => {
    const warnings = warningNotes(stage, options);
    const model = await train({
      run,
      saveEvery,
      ...(progress && { progress }),
      ...(signal && { signal }),
      onWarning: warnings.add,
    });
    warnings.close();
    const validation = (await evaluate?.()) ?? null;
    await run.events.flush();
    await run.completions.flush();
    const steps = (await readSteps(run.events.path)).filter((entry) => entry.stage === stage);
    const last = steps.at(-1);
    const result = { stage, steps: last?.step ?? 0, metrics: last?.metrics ?? {}, validation };
    // Of fewer steps, from before the run went on: beside the new result it would pass for its model.
    if (await exists(join(folder, MODEL))) await removeFolder(join(folder, MODEL));
    await run.writeFile(RESULT, `${JSON.stringify(result, null, 2)}\n`);
    const placed = { ...result, run: folder, model: join(folder, MODEL) };
    await run.writeFile('report.html', renderReport(await runReport(folder, config, [placed])));
    await saveCheckpoint(join(folder, MODEL), model, { overwrite: true });
    return placed;
  });
}

/**
 * The result of a stage in the folder of a larger run: what is there where it has ended with `steps` at least, else what
 * `work` makes of it, going on where it was left.
 */
export async function throughStage(
  folder: string,
  about: string,
  work: (folder: string, options: RunOptions) => Promise<StageResult>,
  { steps = 0, ...options }: Omit<RunOptions, 'resume' | 'overwrite'> & { steps?: number },
): Promise<StageResult> {
  const result = await finishedStage(folder);
  if (result !== undefined && result.steps >= steps) return result;
  options.signal?.throwIfAborted();
  options.onNote?.(about);
  return work(folder, { ...options, resume: await exists(folder) });
}

/** Does the work of a run and closes it, whatever comes of it. */
export async function within<T>(run: RunFolder, work: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await run.abandon();
    throw error;
  }
  await run.close();
  return result;
}

/** Tells each kind of warning when it first comes, and at the end how often it came: steps may all have the same. */
export function warningNotes(stage: string, { onNote = () => {} }: Pick<RunOptions, 'onNote'>) {
  const counts = new Map<string, number>();
  return {
    add: (step: number, { code, message }: { code: string; message: string }): void => {
      const count = (counts.get(code) ?? 0) + 1;
      counts.set(code, count);
      if (count === 1) onNote(`warning: ${stage} step ${step}: ${message}`);
    },
    close: (): void => {
      for (const [code, count] of counts) {
        if (count > 1) onNote(`warning: ${stage}: ${code} at ${count} steps`);
      }
    },
  };
}

export const existing = ({ resume, overwrite }: RunOptions): RunFolderOptions => ({
  resume: resume ?? false,
  overwrite: overwrite ?? false,
});
