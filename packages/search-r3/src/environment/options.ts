/** Options of the selective environment. Defaults are the measured ones; see docs/environment.md. */
import { z } from 'zod';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.int().positive();

/** How much is encoded at a step; documents whose vectors are missing, and the positives, are encoded in any case. */
const budgetSchema = z.union([
  z.strictObject({ documents: count }),
  /** Of the corpus. */
  z.strictObject({ fraction: z.number().gt(0).max(1) }),
  /** Until the expected mean absolute error of the rewards is below, with at most `most` of the corpus. */
  z.strictObject({ targetError: positive, most: z.number().gt(0).max(1).default(1) }),
]);

const schema = z.strictObject({
  /** `value`: what may change the rewards most. `region`: what lies near rollouts and positives. `random`: anything. */
  policy: z.enum(['value', 'region', 'random']).default('value'),
  budget: budgetSchema.prefault({ fraction: 0.05 }),
  /**
   * `exact`: searches scan all vectors. `ann`: a proximity graph for those that stay what they are, from 50,000 on; not
   * where a drift map moves them all at every step. It is exchanged when it is ready, so that runs are not repeatable to
   * the bit.
   */
  index: z.enum(['exact', 'ann']).default('exact'),
  seed: z.int().default(0),
  /** Only ranks up to this earn a reward. Default all. */
  cut: count.optional(),
  drift: z
    .strictObject({
      /** Move stale vectors by a linear map. */
      map: z.boolean().default(true),
      /** Ridge of the map, as a multiple of pairs / dimension. */
      lambda: positive.default(1),
      /** Correct stale vectors near the queries by kernel ridge regression on what the map leaves. */
      kernel: z.boolean().default(true),
      ridge: positive.default(1),
      /** Share of the kernel that is the cosine of the documents' words; the rest is exp(sharpness (cos - 1)). */
      words: share.default(0.5),
      sharpness: positive.default(8),
    })
    .prefault({}),
  value: z
    .strictObject({
      /** Share of the budget spent on random documents. */
      random: share.default(0.1),
      /** Rounds of choosing, each by a drift learnt anew. */
      rounds: count.default(3),
      /** Factor on the uncertainty that the drift's errors suggest. */
      width: positive.default(1),
      /** Steps after which a document's uncertainty grows no more. */
      ageLimit: count.default(8),
      /** Stale documents looked at closely, at most; the others are moved by the map alone. */
      candidates: count.default(20_000),
    })
    .prefault({}),
  region: z
    .strictObject({
      /** Documents found per rollout that belong to the region. */
      topK: count.default(10),
      /** Nearest neighbours of the positives that belong to it; 0 none. */
      neighbours: z.int().nonnegative().default(8),
      /** Age in steps up to which a vector counts as fresh. */
      staleness: z.int().nonnegative().default(0),
      /** Searches, at most. */
      rounds: count.default(6),
      /** Share of the budget that goes to the oldest documents anywhere; 1 for all that are left. */
      sweep: share.default(0.1),
    })
    .prefault({}),
  audit: z
    .strictObject({
      /** Stale documents encoded by an audit. */
      documents: z.int().min(2).default(60),
      /** Mean absolute error of the rewards beyond which an audit warns, by the upper end of its interval. */
      bound: positive.default(0.05),
    })
    .prefault({}),
});

export const selectiveOptionsSchema = schema.refine(
  ({ index, policy, drift }) => index === 'exact' || policy !== 'value' || !(drift.map || drift.kernel),
  { path: ['index'], message: 'expected exact where a drift map moves the vectors' },
);

/** Options of the selective environment as a user writes them. */
export type SelectiveOptions = z.input<typeof selectiveOptionsSchema>;
export type ResolvedSelectiveOptions = z.output<typeof selectiveOptionsSchema>;
