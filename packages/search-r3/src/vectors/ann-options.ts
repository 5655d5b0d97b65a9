/** Options of the approximate index. */
import { availableParallelism } from 'node:os';
import { z } from 'zod';

export const annOptionsSchema = z.strictObject({
  /** Rows to make room for at once; more are made as needed, by doubling. Default 1,024. */
  capacity: z.int().positive().default(1024),
  /** Threads of a search and of building a graph, at most the machine's cores. Default: all cores. */
  threads: z
    .int()
    .positive()
    .optional()
    .transform((threads) => Math.min(threads ?? availableParallelism(), availableParallelism())),
  /** Rows from which a graph is built; below, every search is exact. Default 50,000: docs/decisions/003. */
  graphFrom: z.int().positive().default(50_000),
  /** Links per vector and level of the graph (M). Default 16. */
  connectivity: z.int().min(2).max(256).default(16),
  /** Candidates looked at when a vector is added to a graph (efConstruction). Default 128. */
  buildWidth: z.int().positive().default(128),
  /** Candidates of a search at first (ef); widened by half where the measured recall is below `minRecall`. Default 96. */
  searchWidth: z.int().positive().default(96),
  /** Measured recall below which searches are widened and the graph is built anew, above 0. Default 0.97. */
  minRecall: z.number().positive().max(1).default(0.97),
  /** Share of queries that are searched exactly too, to measure the recall. Default 0.05. */
  sampleShare: z.number().min(0).max(1).default(0.05),
  /** Rows changed since the graph was built, as a share of its rows, from which it is built anew. Default 0.1. */
  staleShare: z.number().positive().max(1).default(0.1),
  /** Nearest rows among which ranks are counted, by an exact scan where these are too few; 0: always. Default 100. */
  rankDepth: z.int().nonnegative().default(100),
});

export type AnnIndexOptions = z.input<typeof annOptionsSchema>;
export type ResolvedAnnOptions = z.output<typeof annOptionsSchema>;
