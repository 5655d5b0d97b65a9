/**
 * The output of a command. The result goes to stdout, as text or as one JSON document with `--json`. Notes, warnings
 * and progress go to stderr.
 */
import type { ProgressEvent, ProgressReporter } from '../run/progress.js';
import type { ProgressDisplay } from './progress-display.js';
import type { RowWriter } from './row-writer.js';
import type { TextStream } from './streams.js';

export interface OutputOptions {
  json: boolean;
  quiet: boolean;
  stdout?: TextStream;
  stderr?: TextStream;
}

export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly #stdout: TextStream;
  readonly #stderr: TextStream;
  #display: ProgressDisplay | undefined;

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.#stdout = options.stdout ?? process.stdout;
    this.#stderr = options.stderr ?? process.stderr;
  }

  /** Writes the result of the command: `value` as JSON with `--json`, else the text. */
  result(value: unknown, text: () => string): void {
    this.#stdout.write(this.json ? `${JSON.stringify(value)}\n` : `${text().trimEnd()}\n`);
  }

  /** A writer for results with many rows: one row per line, or one JSON array with `--json`. */
  async rows(): Promise<RowWriter> {
    const { RowWriter } = await import('./row-writer.js');
    return new RowWriter(this.#stdout, this.json ? 'array' : 'lines');
  }

  /** Writes a note, unless `--quiet`. */
  note(text: string): void {
    if (!this.quiet) this.#write(text);
  }

  /** Writes a warning, even with `--quiet`. */
  warn(text: string): void {
    this.#write(`warning: ${text}`);
  }

  /** Shows progress events, unless `--quiet`. Close it when the work is done. */
  async progress(): Promise<ProgressReporter & { close(): void }> {
    if (this.quiet) return { report: () => {}, close: () => {} };
    const { ProgressDisplay } = await import('./progress-display.js');
    const display = new ProgressDisplay({ stream: this.#stderr });
    this.#display = display;
    return {
      report: (event: ProgressEvent) => display.report(event),
      close: () => {
        display.close();
        this.#display = undefined;
      },
    };
  }

  #write(text: string): void {
    if (this.#display === undefined) this.#stderr.write(`${text}\n`);
    else this.#display.log(text);
  }
}
