/** Shows progress: a bar (cli-progress) on a terminal, a line every few seconds in a log. */
import { MultiBar, type SingleBar } from 'cli-progress';
import type { ProgressEvent, ProgressReporter, ProgressUnit } from '../run/progress.js';
import type { TextStream } from './streams.js';

export interface ProgressDisplayOptions {
  stream: TextStream;
  /** Seconds between two lines if the stream is not a terminal. Default 5. */
  every?: number;
  /** Milliseconds from any fixed moment. Default `performance.now`. */
  clock?: () => number;
}

const BAR_WIDTH = 24;
/** More would not fit next to the bar. */
const METRICS_SHOWN = 3;

export class ProgressDisplay implements ProgressReporter {
  readonly #stream: TextStream;
  readonly #every: number;
  readonly #clock: () => number;
  #bars: MultiBar | undefined;
  /** What was last shown of each stage. Stages may take turns. */
  readonly #shown = new Map<string, { event: ProgressEvent; bar?: SingleBar }>();
  #lastLine = Number.NEGATIVE_INFINITY;

  constructor(options: ProgressDisplayOptions) {
    this.#stream = options.stream;
    this.#every = (options.every ?? 5) * 1000;
    this.#clock = options.clock ?? (() => performance.now());
  }

  report(event: ProgressEvent): void {
    const shown = this.#shown.get(event.stage);
    const goesOn = shown !== undefined && continues(shown.event, event);
    if (this.#stream.isTTY === true) {
      this.#shown.set(event.stage, { event, bar: this.#drawBar(event, goesOn ? shown.bar : undefined) });
    } else {
      this.#shown.set(event.stage, { event });
      this.#writeLine(event, !goesOn);
    }
  }

  /** Writes a line of text without tearing the bar. */
  log(text: string): void {
    if (this.#bars === undefined) {
      this.#stream.write(`${text}\n`);
      return;
    }
    this.#bars.log(`${text}\n`);
    this.#bars.update(); // Redraw now; the line would be lost if the process ended first.
  }

  /** Ends the display; the last bar stays visible. */
  close(): void {
    this.#bars?.stop();
    this.#bars = undefined;
    this.#shown.clear();
  }

  #drawBar(event: ProgressEvent, known: SingleBar | undefined): SingleBar {
    this.#bars ??= new MultiBar({
      stream: this.#stream as NodeJS.WritableStream,
      format: (_options, params, payload) =>
        `${drawn(params.progress)} ${describeProgress((payload as { event: ProgressEvent }).event)}`,
      // Ctrl-C is handled elsewhere. The second Ctrl-C ends the process before it could restore the terminal.
      gracefulExit: false,
      hideCursor: false,
      linewrap: true,
    });
    const bar = known ?? this.#bars.create(event.steps, event.step, { event });
    bar.update(event.step, { event });
    return bar;
  }

  #writeLine(event: ProgressEvent, isNew: boolean): void {
    const now = this.#clock();
    const due = now - this.#lastLine >= this.#every;
    if (!isNew && !due && event.step < event.steps) return;
    this.#lastLine = now;
    this.#stream.write(`${describeProgress(event)}\n`);
  }
}

/** Whether the later event is about the same work. */
const continues = (earlier: ProgressEvent, later: ProgressEvent): boolean =>
  earlier.steps === later.steps && earlier.step <= later.step && earlier.step < earlier.steps;

function drawn(share: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * BAR_WIDTH);
  return `[${'='.repeat(full)}${' '.repeat(BAR_WIDTH - full)}]`;
}

/** One line: stage, steps, the first metrics, speed and remaining time. */
export function describeProgress(event: ProgressEvent): string {
  const { stage, unit, step, steps, metrics, rate, etaSeconds } = event;
  const share = steps > 0 ? ` (${Math.floor((100 * step) / steps)}%)` : '';
  const shown = Object.entries(metrics).slice(0, METRICS_SHOWN);
  return [
    `${stage} ${step}/${steps}${share}`,
    ...shown.map(([name, value]) => `${name} ${formatMetric(value)}`),
    ...(rate === null ? [] : [formatRate(rate, unit)]),
    ...(etaSeconds === null || step >= steps ? [] : [`ETA ${formatDuration(etaSeconds)}`]),
  ].join('  ');
}

function formatMetric(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  return Number.isInteger(value) ? String(value) : Number(value.toPrecision(4)).toString();
}

const PLURALS: Record<ProgressUnit, string> = {
  step: 'steps',
  document: 'documents',
  query: 'queries',
  text: 'texts',
  token: 'tokens',
  layer: 'layers',
};

/** Units per second, or seconds per unit below 1 unit per second. */
function formatRate(rate: number, unit: ProgressUnit): string {
  return rate >= 1 ? `${rate.toFixed(1)} ${PLURALS[unit]}/s` : `${(1 / rate).toFixed(1)} s/${unit}`;
}

/** `42 s`, `7 min 12 s`, `2 h 5 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(whole / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}
