/** Progress of long work: the events, and the tracker that adds rate and remaining time. */

/** What is counted: training steps, texts of some kind, tokens of a vocabulary. */
export type ProgressUnit = 'step' | 'document' | 'query' | 'text' | 'token' | 'layer';

export interface ProgressEvent {
  /** What is being done, for example `rl` or `encode`. */
  stage: string;
  /** What `step` counts. */
  unit: ProgressUnit;
  /** Units finished. */
  step: number;
  /** Units in all. */
  steps: number;
  /** The numbers worth watching, most important first. */
  metrics: Record<string, number>;
  /** Units per second over the window; null until one is finished. */
  rate: number | null;
  /** Seconds to the end at this rate; null if unknown. */
  etaSeconds: number | null;
}

export interface ProgressReporter {
  report(event: ProgressEvent): void;
}

/** A reporter that does nothing: the default wherever one can be passed. */
export const silentProgress: ProgressReporter = { report: () => {} };

export interface ProgressTrackerOptions {
  stage: string;
  /** Default `step`. */
  unit?: ProgressUnit;
  steps: number;
  /** Steps that the resumed run had finished. Default 0. */
  from?: number;
  reporter?: ProgressReporter;
  /** Number of latest reports that the rate is computed from. Default 20. */
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

  /** Reports that `step` steps are finished. */
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
