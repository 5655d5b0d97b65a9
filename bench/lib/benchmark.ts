/** What a module in bench/ exports for `run.ts`. */

export type Log = (text: string) => void;

export interface BenchmarkOptions {
  /** A run of a few minutes that only shows that everything works; the figures mean nothing. */
  quick: boolean;
  /** Shows progress on stderr. */
  log: Log;
}

export interface BenchmarkResult {
  figures: unknown;
  sizes: Record<string, unknown>;
  seeds?: readonly number[];
  peer?: unknown;
  note?: string;
}

export interface Benchmark {
  /** One line. */
  description: string;
  run(options: BenchmarkOptions): Promise<BenchmarkResult>;
}
