/** What a module in bench/ exports for `run.ts`. */

export type Log = (text: string) => void;

export interface BenchmarkOptions {
  /** A run of a few minutes that only shows that everything works; the figures mean nothing. */
  quick: boolean;
  /** Run only this one of `parts`. */
  part?: string;
  /** Shows progress on stderr. */
  log: Log;
}

export interface BenchmarkResult {
  figures: unknown;
  sizes: Record<string, unknown>;
  seeds?: readonly number[];
  peer?: unknown;
  note?: string;
  /** Printed before the line of JSON. */
  table?: string;
}

export interface Benchmark {
  /** One line. */
  description: string;
  /** Parts that `--part` runs alone. */
  parts?: readonly string[];
  run(options: BenchmarkOptions): Promise<BenchmarkResult>;
}
