/** Options of the approximate index. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';

export const annOptionsSchema = z.strictObject({
  /** Rows to allocate at first; the capacity doubles as needed. Default 1,024. */
  capacity: z.int().positive().default(1024),
  /** Threads for searching and building, at most the machine's cores. Default: all cores. */
  threads: z
    .int()
    .positive()
    .optional()
    .transform((threads) => Math.min(threads ?? availableParallelism(), availableParallelism())),
  /** Rows from which a graph is built; with fewer, every search is exact. Default 50,000 (docs/decisions/003). */
  graphFrom: z.int().positive().default(50_000),
  /** Links per vector and level (M of HNSW). Default 16. */
  connectivity: z.int().min(2).max(256).default(16),
  /** Candidates considered when a vector is added (efConstruction of HNSW). Default 128. */
  buildWidth: z.int().positive().default(128),
  /** Initial candidates of a search (ef of HNSW); grows by half while the recall is below `minRecall`. Default 96. */
  searchWidth: z.int().positive().default(96),
  /** Measured recall below which searches are widened and the graph is rebuilt; above 0. Default 0.97. */
  minRecall: z.number().positive().max(1).default(0.97),
  /** Share of queries that are also searched exactly, to measure the recall. Default 0.05. */
  sampleShare: z.number().min(0).max(1).default(0.05),
  /** The graph is rebuilt when more than this share of its rows has changed. Default 0.1. */
  staleShare: z.number().positive().max(1).default(0.1),
  /** Nearest rows among which ranks are counted; lower ranks take an exact scan. 0: always scan. Default 100. */
  rankDepth: z.int().nonnegative().default(100),
});

export type AnnIndexOptions = z.input<typeof annOptionsSchema>;
export type ResolvedAnnOptions = z.output<typeof annOptionsSchema>;
