/**
 * Options of the selective environment, and the choice of a run's environment. The defaults are the measured ones (see
 * docs/environment.md).
 */
import { z } from 'zod';
import { annOptionsSchema } from '../vectors/index.js';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.int().positive();

/**
 * How much a step encodes, by one of three measures. Documents without a vector and the positives are encoded in any
 * case.
 */
const budgetSchema = z
  .strictObject({
    documents: count.optional(),
    /** Share of the corpus. */
    fraction: z.number().gt(0).max(1).optional(),
    /** Mean absolute error of the rewards to stay below: encodes until the expected error is half of it. */
    targetError: positive.optional(),
    /** With a target, the largest share of the corpus to encode. Default 1. */
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
  /**
   * `value`: what may change the rewards most; `region`: what is near rollouts and positives; `random`: random ones.
   */
  policy: z.enum(['value', 'region', 'random']).default('value'),
  budget: budgetSchema.prefault({ fraction: 0.05 }),
  /**
   * `exact`: searches scan all vectors. `ann`: searches use a proximity graph of the unchanged vectors; not available
   * with a drift map, which moves all vectors at every step. The graph is swapped in when it is ready, so runs are not
   * bit-for-bit reproducible.
   */
  index: z.enum(['exact', 'ann']).default('exact'),
  /** With `ann`, the number of documents from which there is a graph. */
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
      /** Correct stale vectors near the queries by kernel ridge regression on the residuals of the map. */
      kernel: z.boolean().default(true),
      ridge: positive.default(1),
      /** Share of the kernel that is the cosine of the documents' words; the rest is exp(sharpness (cos - 1)). */
      words: share.default(0.5),
      sharpness: positive.default(8),
    })
    .prefault({}),
  value: z
    .strictObject({
      /** Share of the budget spent on random documents, at most 1,024 of them. */
      random: share.default(0.1),
      /** Rounds of choosing documents; each learns the drift again. */
      rounds: count.default(3),
      /** Factor on the uncertainty estimated from the drift's errors. */
      width: positive.default(1),
      /** Steps after which a document's uncertainty stops growing. */
      ageLimit: count.default(8),
      /**
       * Corpora of up to this many documents are examined in full; in larger ones, only the positives and at most 8,192
       * documents near some rollout are examined. The map alone moves the others, and positives that rank behind the
       * documents looked at count neither for the expected error nor for audits.
       */
      candidates: count.default(20_000),
    })
    .prefault({}),
  region: z
    .strictObject({
      /** Top documents of each rollout that belong to the region. */
      topK: count.default(10),
      /** Nearest neighbours of each positive that belong to it; 0 for none. */
      neighbours: z.int().nonnegative().default(8),
      /** Age in steps up to which a vector counts as fresh. */
      staleness: z.int().nonnegative().default(0),
      /** Maximum number of searches. */
      rounds: count.default(6),
      /** Share of the budget for the oldest documents anywhere. */
      sweep: share.default(0.1),
    })
    .prefault({}),
  audit: z
    .strictObject({
      /** Stale documents encoded by an audit. */
      documents: z.int().min(2).default(60),
      /** An audit warns if the upper end of its interval of the mean absolute reward error exceeds this. */
      bound: positive.default(0.05),
    })
    .prefault({}),
});

/** A graph is of no use if every vector moves. */
function refuseMovedGraph(
  { index, policy, drift }: Pick<z.output<typeof schema>, 'index' | 'policy' | 'drift'>,
  context: z.core.$RefinementCtx,
): void {
  if (index === 'exact' || policy !== 'value' || !(drift.map || drift.kernel)) return;
  const message = 'expected exact, because the drift map moves every vector';
  context.addIssue({ code: 'custom', path: ['index'], message });
}

export const selectiveOptionsSchema = schema.superRefine(refuseMovedGraph);

/** Options of the selective environment as a user writes them. */
export type SelectiveOptions = z.input<typeof selectiveOptionsSchema>;
export type ResolvedSelectiveOptions = z.output<typeof selectiveOptionsSchema>;

// The run sets these.
const { seed: _seed, cut: _cut, ...ownShape } = schema.shape;

/** Accepts unknown keys at run time, to say that a setting belongs to the other kind; `kind` may be left out. */
const exactSchema = z
  .looseObject({ kind: z.literal('exact').default('exact').optional() })
  .superRefine(({ kind: _, ...others }, context) => {
    for (const key of Object.keys(others)) {
      const message = 'expected no such setting with kind exact';
      context.addIssue({ code: 'custom', path: [key], message });
    }
  }) as unknown as z.ZodObject<{ kind: z.ZodDefault<z.ZodLiteral<'exact'>> }, z.core.$strict>;

/** The environment of a run: exact, which encodes the whole corpus at every step (default), or selective. */
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
