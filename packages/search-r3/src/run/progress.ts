/** Progress of long work: what a trainer reports, and how speed and remaining time are computed from it. */

/** What is counted: steps of training, texts of some kind, tokens of a vocabulary. */
export type ProgressUnit = 'step' | 'document' | 'query' | 'text' | 'token';

export interface ProgressEvent {
  /** What is being done, for example `rl` or `encode`. */
  stage: string;
  /** What `step` counts. */
  unit: ProgressUnit;
  /** Finished ones. */
  step: number;
  steps: number;
  /** The numbers worth watching, most important first. */
  metrics: Record<string, number>;
  /** Units per second over the window; null until one was finished. */
  rate: number | null;
  /** Seconds to the end at this rate; null where it is not known. */
  etaSeconds: number | null;
}

export interface ProgressReporter {
  report(event: ProgressEvent): void;
}

/** A reporter that says nothing: the default of every call that takes one. */
export const silentProgress: ProgressReporter = { report: () => {} };

export interface ProgressTrackerOptions {
  stage: string;
  /** Default `step`. */
  unit?: ProgressUnit;
  steps: number;
  /** Steps finished before, by the run that is resumed. Default 0. */
  from?: number;
  reporter?: ProgressReporter;
  /** How many of the latest reports the rate is taken over. Default 20. */
  window?: number;
  /** Milliseconds from any fixed moment. Default `performance.now`. */
  clock?: () => number;
}

/** Turns finished steps into progress events with a rate over a moving window. */
export class ProgressTracker {
  readonly #options: Required<ProgressTrackerOptions>;
  /** Step and time of the start and of the latest reports. */
  readonly #marks: { step: number; time: number }[];

  constructor(options: ProgressTrackerOptions) {
    const clock = options.clock ?? (() => performance.now());
    this.#options = { from: 0, unit: 'step', reporter: silentProgress, window: 20, ...options, clock };
    this.#marks = [{ step: this.#options.from, time: clock() }];
  }

  /** `step` steps are finished. */
  update(step: number, metrics: Record<string, number> = {}): ProgressEvent {
    const { stage, unit, steps, window, clock, reporter } = this.#options;
    this.#marks.push({ step, time: clock() });
    if (this.#marks.length > window + 1) this.#marks.shift();
    const rate = this.#rate();
    const etaSeconds = rate === null ? null : Math.max(0, steps - step) / rate;
    const event: ProgressEvent = { stage, unit, step, steps, metrics, rate, etaSeconds };
    reporter.report(event);
    return event;
  }

  #rate(): number | null {
    const first = this.#marks[0];
    const last = this.#marks.at(-1);
    if (first === undefined || last === undefined) return null;
    const seconds = (last.time - first.time) / 1000;
    return last.step > first.step && seconds > 0 ? (last.step - first.step) / seconds : null;
  }
}
