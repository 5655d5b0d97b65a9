/** The training loop of all stages: steps, logs, evaluations and checkpoints; it can be stopped and resumed. */
import { setImmediate } from 'node:timers/promises';
import {
  type Checkpoint,
  type CompletionRecord,
  InterruptedError,
  type Metrics,
  type ProgressReporter,
  ProgressTracker,
  type RunFolder,
  type WarningEvent,
} from '../run/index.js';

export interface StepRecord {
  metrics: Metrics;
  /** Seconds by part. */
  timings: Record<string, number>;
  completions?: Omit<CompletionRecord, 'step'>[];
  warnings?: Pick<WarningEvent, 'code' | 'message'>[];
}

/** What can be trained: one step at a time, saved and restored between any two. */
export interface Trainer {
  readonly stage: string;
  readonly steps: number;
  /** Step `index` (from 0), an update of the parameters. */
  step(index: number): Promise<StepRecord>;
  /** Writes everything into `folder` that `restore` needs. */
  save(folder: string): Promise<void>;
  restore(folder: string): Promise<void>;
}

export interface LoopOptions {
  /** Where records and checkpoints go; without it the run leaves nothing behind. */
  run?: RunFolder;
  /** Steps between checkpoints; the last step is always saved. Default 50. */
  saveEvery?: number;
  /** Steps between evaluations, and one at the end. Default 0: none. */
  evaluateEvery?: number;
  /** Called with the number of finished steps; gives metrics by name of what was evaluated. */
  evaluate?: (finished: number) => Promise<Record<string, Metrics>>;
  /**
   * Called before each step with the number of finished steps, for what the step needs. Stopped or failed, it loses no
   * step: those before are saved.
   */
  prepare?: (finished: number) => Promise<void>;
  /** Metrics to show while running, most important first. Default all. */
  watch?: readonly string[];
  progress?: ProgressReporter;
  signal?: AbortSignal;
  onStep?: (finished: number, record: StepRecord) => void;
  /** Called with every warning of a step. */
  onWarning?: (finished: number, warning: Pick<WarningEvent, 'code' | 'message'>) => void;
}

/**
 * Trains until the last step or until `signal` is aborted. A run opened with `resume` continues from its newest
 * checkpoint, and its result is bit-identical to that of a run that was never stopped. If an evaluation fails or is
 * stopped, no step is lost: it is repeated when the run is resumed.
 * @throws InterruptedError if aborted, after the current step is finished and saved.
 */
export async function trainLoop(
  trainer: Trainer,
  options: LoopOptions = {},
): Promise<Checkpoint | undefined> {
  const { run, saveEvery = 50, evaluateEvery = 0, evaluate, signal, progress } = options;
  let saved: Checkpoint | undefined = run?.resumed;
  if (saved !== undefined) await trainer.restore(saved.path);
  const from = saved?.step ?? 0;
  const { stage, steps } = trainer;
  const tracker = new ProgressTracker({ stage, steps, from, ...(progress && { reporter: progress }) });
  const evaluateAt = async (finished: number): Promise<void> => {
    const due = evaluateEvery > 0 && (finished % evaluateEvery === 0 || finished === steps);
    if (!due || evaluate === undefined) return;
    if (signal?.aborted) throw new InterruptedError(`${stage}: stopped before an evaluation`);
    for (const [name, metrics] of Object.entries(await evaluate(finished))) {
      run?.events.append({ type: 'evaluation', stage, step: finished, name, metrics });
    }
  };
  if (saved !== undefined && run?.events.kept?.type !== 'evaluation') await evaluateAt(from);

  for (let index = from; index < steps; index++) {
    try {
      await options.prepare?.(index);
    } catch (error) {
      if (run !== undefined && index > (saved?.step ?? 0)) {
        await run.saveCheckpoint(index, (folder) => trainer.save(folder));
      }
      const stopped = error instanceof InterruptedError && index > 0;
      throw stopped ? new InterruptedError(`${stage}: stopped after step ${index}`, { cause: error }) : error;
    }
    const record = await trainer.step(index);
    const finished = index + 1;
    run?.events.append({
      type: 'step',
      stage,
      step: finished,
      metrics: record.metrics,
      timings: record.timings,
    });
    for (const completion of record.completions ?? [])
      run?.completions.append({ step: finished, ...completion });
    for (const warning of record.warnings ?? []) {
      run?.events.append({ type: 'warning', stage, step: finished, ...warning });
      options.onWarning?.(finished, warning);
    }
    options.onStep?.(finished, record);
    tracker.update(finished, watched(record.metrics, options.watch));

    const failure = await evaluateAt(finished).then(
      () => undefined,
      (error: unknown) => ({ error }),
    );
    const stopped = signal?.aborted === true;
    const due = finished % saveEvery === 0 || finished === steps;
    if (run !== undefined && (due || stopped || failure !== undefined)) {
      saved = await run.saveCheckpoint(finished, (folder) => trainer.save(folder));
    }
    if (failure !== undefined) throw failure.error;
    if (stopped && finished < steps) throw new InterruptedError(`${stage}: stopped after step ${finished}`);
    // Kernels hold the thread while they run; this lets signals and timers in between.
    await setImmediate();
  }
  return saved;
}

function watched(metrics: Metrics, names?: readonly string[]): Record<string, number> {
  const chosen = names ?? Object.keys(metrics);
  return Object.fromEntries(
    chosen.flatMap((name) => {
      const value = metrics[name];
      return value === undefined || value === null ? [] : [[name, value]];
    }),
  );
}
