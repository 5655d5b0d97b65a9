/**
 * Options of the selective environment, and which environment a run has. Defaults are the measured ones; see
 * docs/environment.md.
 */
import { z } from 'zod';
import { annOptionsSchema } from '../vectors/index.js';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.int().positive();

/**
 * How much is encoded at a step, by one of three measures; documents whose vectors are missing, and the positives, are
 * encoded in any case.
 */
const budgetSchema = z
  .strictObject({
    documents: count.optional(),
    /** Of the corpus. */
    fraction: z.number().gt(0).max(1).optional(),
    /** Mean absolute error of the rewards to stay below: encode until half of it is expected. */
    targetError: positive.optional(),
    /** Of the corpus, at most, where there is a target. Default 1. */
    most: z.number().gt(0).max(1).optional(),
  })
  .refine(
    (budget) =>
      [budget.documents, budget.fraction, budget.targetError].filter((x) => x !== undefined).length === 1,
    'expected one of documents, fraction and targetError',
  )
  .refine(({ targetError, most }) => most === undefined || targetError !== undefined, {
    path: ['most'],
    message: 'expected no such setting without targetError',
  });

const schema = z.strictObject({
  /** `value`: what may change the rewards most. `region`: what lies near rollouts and positives. `random`: anything. */
  policy: z.enum(['value', 'region', 'random']).default('value'),
  budget: budgetSchema.prefault({ fraction: 0.05 }),
  /**
   * `exact`: searches scan all vectors. `ann`: a proximity graph for those that stay what they are; not where a drift map
   * moves them all at every step. It is exchanged when it is ready, so that runs are not repeatable to
   * the bit.
   */
  index: z.enum(['exact', 'ann']).default('exact'),
  /** Documents from which there is a graph, where it is asked for. */
  graphFrom: annOptionsSchema.shape.graphFrom,
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
      /** Share of the budget spent on random documents, 1,024 of them at most. */
      random: share.default(0.1),
      /** Rounds of choosing, each by a drift learnt anew. */
      rounds: count.default(3),
      /** Factor on the uncertainty that the drift's errors suggest. */
      width: positive.default(1),
      /** Steps after which a document's uncertainty grows no more. */
      ageLimit: count.default(8),
      /**
       * Corpora of up to so many documents are looked at as a whole. Of larger ones 8,192 near some rollout at most and the
       * positives are; the others are moved by the map alone, and positives that stand behind those that are looked at
       * count neither for the expected error nor for audits.
       */
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

/** A graph answers for vectors that stay what they are. */
function refuseMovedGraph(
  { index, policy, drift }: Pick<z.output<typeof schema>, 'index' | 'policy' | 'drift'>,
  context: z.core.$RefinementCtx,
): void {
  if (index === 'exact' || policy !== 'value' || !(drift.map || drift.kernel)) return;
  const message = 'expected exact where a drift map moves the vectors';
  context.addIssue({ code: 'custom', path: ['index'], message });
}

export const selectiveOptionsSchema = schema.superRefine(refuseMovedGraph);

/** Options of the selective environment as a user writes them. */
export type SelectiveOptions = z.input<typeof selectiveOptionsSchema>;
export type ResolvedSelectiveOptions = z.output<typeof selectiveOptionsSchema>;

// Those of the run.
const { seed: _seed, cut: _cut, ...ownShape } = schema.shape;

/** Loose at run time alone, so that a setting of the other kind is told as such; without `kind` it is this one. */
const exactSchema = z
  .looseObject({ kind: z.literal('exact').default('exact').optional() })
  .superRefine(({ kind: _, ...others }, context) => {
    for (const key of Object.keys(others)) {
      const message = 'expected no such setting where kind is exact';
      context.addIssue({ code: 'custom', path: [key], message });
    }
  }) as unknown as z.ZodObject<{ kind: z.ZodDefault<z.ZodLiteral<'exact'>> }, z.core.$strict>;

/** Which environment a run has: one that encodes the whole corpus at every step (default), or a selective one. */
export const environmentOptionsSchema = z
  .discriminatedUnion(
    'kind',
    [
      exactSchema,
      z.strictObject({ kind: z.literal('selective'), ...ownShape }).superRefine(refuseMovedGraph),
    ],
    { error: ({ code }) => (code === 'invalid_union' ? 'expected "exact" or "selective"' : undefined) },
  )
  .prefault({ kind: 'exact' });

export type EnvironmentOptions = z.input<typeof environmentOptionsSchema>;
export type ResolvedEnvironmentOptions = z.output<typeof environmentOptionsSchema>;
