/** Training and evaluation as typed calls: the commands of the same names with their settings as an object. */
import type { z } from 'zod';
import * as pipeline from '../pipeline/index.js';
import { InterruptedError, type ProgressEvent, validate } from '../run/index.js';
import type { ThreadOptions } from './types.js';

/**
 * Settings of `train`, named as in the command's YAML file, which docs/guides/options.md describes; only `data` and `out`
 * have no default.
 */
export interface TrainConfig extends z.input<typeof pipeline.trainSettings> {}
/** Settings of `pretrain`. */
export interface PretrainConfig extends z.input<typeof pipeline.pretrainSettings> {}
/** Settings of stage 1 alone. */
export interface SftConfig extends z.input<typeof pipeline.sftSettings> {}
/** Settings of stage 2 alone. */
export interface RlConfig extends z.input<typeof pipeline.rlSettings> {}
/** Settings of `evaluate`. */
export interface EvaluateConfig extends z.input<typeof pipeline.evaluateSettings> {}

export interface EvaluateOptions extends ThreadOptions {
  /** Aborting it ends the work with an `InterruptedError`; training first finishes and saves the current step. */
  signal?: AbortSignal;
  /** Called after every step, and between steps in long work, with metrics, rate and remaining time. */
  onProgress?: (event: ProgressEvent) => void;
  /** Called with notes for the user. */
  onNote?: (text: string) => void;
}

export interface TrainOptions extends EvaluateOptions {
  /** Continue the run in the folder. Default false. */
  resume?: boolean;
  /** Replace the run in the folder. Default false. */
  overwrite?: boolean;
}

/** Configuration and result of each job. */
export interface Jobs {
  train: { config: TrainConfig; result: pipeline.TrainResult };
  pretrain: { config: PretrainConfig; result: pipeline.StageResult };
  sft: { config: SftConfig; result: pipeline.StageResult };
  rl: { config: RlConfig; result: pipeline.StageResult };
  evaluate: { config: EvaluateConfig; result: pipeline.FinishedEvaluation };
}

export type JobName = keyof Jobs;
/** `TrainOptions` within a thread. */
export type JobOptions = Omit<TrainOptions, 'thread'>;

const jobs: {
  [J in JobName]: (config: unknown, options: pipeline.RunOptions) => Promise<Jobs[J]['result']>;
} = {
  train: job(pipeline.trainSettings, pipeline.train),
  pretrain: job(pipeline.pretrainSettings, pipeline.pretrain),
  sft: job(pipeline.sftSettings, pipeline.sft),
  rl: job(pipeline.rlSettings, pipeline.rl),
  evaluate: job(pipeline.evaluateSettings, pipeline.evaluateModel),
};

function job<S, T>(schema: z.ZodType<S>, work: (settings: S, options: pipeline.RunOptions) => Promise<T>) {
  return async (config: unknown, options: pipeline.RunOptions): Promise<T> =>
    work(validate(schema, config, 'settings'), options);
}

/** Runs a job in this thread. */
export async function runJob<J extends JobName>(
  name: J,
  config: Jobs[J]['config'],
  { onProgress, signal, ...options }: JobOptions = {},
): Promise<Jobs[J]['result']> {
  const stop = interruption(signal);
  try {
    return await jobs[name](config, {
      ...options,
      ...(onProgress && { progress: { report: onProgress } }),
      ...(stop && { signal: stop.signal }),
    });
  } finally {
    stop?.dispose();
  }
}

/** A signal that aborts with an `InterruptedError`, whatever the caller's reason. */
function interruption(signal: AbortSignal | undefined): { signal: AbortSignal; dispose(): void } | undefined {
  if (signal === undefined) return undefined;
  const controller = new AbortController();
  const abort = () =>
    controller.abort(new InterruptedError('stopped by the caller', { cause: signal.reason }));
  if (signal.aborted) abort();
  signal.addEventListener('abort', abort, { once: true });
  return {
    signal: controller.signal,
    dispose: () => signal.removeEventListener('abort', abort),
  };
}
