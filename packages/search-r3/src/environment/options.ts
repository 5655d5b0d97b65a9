/**
 * Options of the selective environment, and the choice of a run's environment, each with its text for the guide
 * (`.meta`). The defaults are the measured ones (see docs/environment.md).
 */
import { z } from 'zod';
import { annOptionsSchema } from '../vectors/ann-options.js';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.int().positive();

/** How much a step encodes, by one of three measures. Documents without a vector are encoded in any case. */
const budgetSchema = z
  .strictObject({
    documents: count.optional().meta({
      description:
        'Documents encoded per step; positives always are. Set one of `documents`, `fraction` and `targetError`.',
      when: 'If a step should take the same time for every corpus.',
    }),
    fraction: z.number().gt(0).max(1).optional().meta({
      description: 'The same, as a share of the corpus; the default if no budget is set.',
      when: 'Raise if audits find an error that matters; lower for a larger corpus.',
    }),
    targetError: positive.optional().meta({
      description:
        'Upper limit of the mean absolute error of the rewards. Documents are encoded until the expected error is half of it.',
      when: 'Set to about 0.005, with `rl.auditEvery`, if accuracy matters more than time.',
    }),
    most: z.number().gt(0).max(1).optional().meta({
      description: 'Largest share of the corpus to encode, with `targetError`.',
      when: 'Lower to limit the time of a step.',
      ifUnset: '`1`',
    }),
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
  policy: z.enum(['value', 'region', 'random']).default('value').meta({
    description:
      'Which documents are encoded: those that may change the rewards most (`value`), those near rollouts and positives (`region`), or random ones (`random`).',
    when: 'Rarely; the others are baselines.',
  }),
  budget: budgetSchema.prefault({ fraction: 0.05 }),
  /** A new graph is swapped in when it is ready, at a step that no seed decides. */
  index: z.enum(['exact', 'ann']).default('exact').meta({
    description:
      '`exact` scans all vectors; `ann` searches a proximity graph of those that have not changed.',
    when: '`ann` with `region` on large corpora. Such runs do not repeat bit for bit.',
  }),
  graphFrom: annOptionsSchema.shape.graphFrom.meta({
    description: 'Smallest number of documents for which a graph is built, if `index` is `ann`.',
    when: 'Rarely.',
  }),
  seed: z.int().default(0),
  /** Only ranks up to this earn a reward. Default all. */
  cut: count.optional(),
  drift: z
    .strictObject({
      map: z.boolean().default(true).meta({
        description: 'Move the vectors that are not encoded, with a linear map learned at each step.',
        when: 'Rarely.',
      }),
      lambda: positive.default(1).meta({
        description: 'Ridge of the map, as a multiple of pairs / dimension.',
        when: 'Rarely.',
      }),
      /** By kernel ridge regression on the residuals of the map. */
      kernel: z.boolean().default(true).meta({
        description: 'Correct vectors near the queries by the errors of the map on similar documents.',
        when: '`false` if `environment_map` takes long. Errors then grow by a third or up to double, in rare steps more.',
      }),
      ridge: positive.default(1).meta({
        description: 'Ridge of the kernel correction.',
        when: 'Rarely.',
      }),
      /** Of the kernel: the cosine of the documents' words; the rest is exp(sharpness (cos - 1)) of their vectors. */
      words: share.default(0.5).meta({
        description: 'Share of words in the similarity of documents; the rest comes from their vectors.',
        when: 'Rarely.',
      }),
      sharpness: positive.default(8).meta({
        description: 'How close vectors must be to count as similar.',
        when: 'Rarely.',
      }),
    })
    .prefault({}),
  value: z
    .strictObject({
      random: share.default(0.1).meta({
        description:
          'Share of the budget spent on random documents, which help to learn the map; at most 1,024 documents.',
        when: 'Rarely.',
      }),
      rounds: count.default(3).meta({
        description: 'Rounds of choosing documents. The drift is refitted before each.',
        when: 'Lower for speed.',
      }),
      width: positive.default(1).meta({
        description: 'Factor on the uncertainty estimated from the errors of the drift.',
        when: 'Raise if audits find more than `expected_error`.',
      }),
      ageLimit: count.default(8).meta({
        description: "Age in steps at which a document's uncertainty stops growing.",
        when: 'Rarely.',
      }),
      candidates: count.default(20_000).meta({
        description:
          'Largest corpus that is examined in full. In a larger one, only the positives and at most 8,192 documents near some rollout are examined closely; the map alone moves the others. Positives that rank behind those count neither for the expected error nor for audits.',
        when: 'Lower if `environment_value` takes long; raise to the size of the corpus if `positives_unseen` is large.',
      }),
    })
    .prefault({}),
  region: z
    .strictObject({
      topK: count.default(10).meta({
        description: 'Top documents of each rollout that belong to the region.',
        when: 'With `region` only.',
      }),
      neighbours: z.int().nonnegative().default(8).meta({
        description: 'Nearest neighbours of each positive that belong to the region; 0 for none.',
        when: 'With `region` only.',
      }),
      staleness: z.int().nonnegative().default(0).meta({
        description: 'Largest age, in steps, of a vector that counts as fresh.',
        when: 'With `region` only. Raise to spread the budget.',
      }),
      rounds: count.default(6).meta({
        description: 'Largest number of searches.',
        when: 'With `region` only.',
      }),
      sweep: share.default(0.1).meta({
        description: 'Share of the budget for the oldest documents anywhere; 1 for all of it.',
        when: 'With `region` only.',
      }),
    })
    .prefault({}),
  audit: z
    .strictObject({
      documents: z.int().min(2).default(60).meta({
        description: 'Documents that an audit encodes; see `rl.auditEvery`.',
        when: 'Raise for narrower intervals of `audited_error`.',
      }),
      bound: positive.default(0.05).meta({
        description:
          'An audit warns if the upper end of its interval for the mean absolute error of the rewards exceeds this.',
        when: 'Set it to the error that your rewards can tolerate.',
      }),
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

const kind = {
  description:
    'How the corpus is kept up to date: `exact` encodes all of it at every step, `selective` only the documents that may change the rewards most. See [the evolving corpus](../environment.md). The other settings of this section apply to `selective`.',
  when: '`selective` if `environment` takes most of the time of a step, typically from a few thousand documents on.',
};

/** Accepts unknown keys at run time, to say that a setting belongs to the other kind; `kind` may be left out. */
const exactSchema = z
  .looseObject({ kind: z.literal('exact').default('exact').optional().meta(kind) })
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
      z.strictObject({ kind: z.literal('selective').meta(kind), ...ownShape }).superRefine(refuseMovedGraph),
    ],
    { error: ({ code }) => (code === 'invalid_union' ? 'expected "exact" or "selective"' : undefined) },
  )
  .prefault({ kind: 'exact' });

/** The choice as a user writes it; docs/guides/options.md describes each option, at `rl.environment`. */
export type EnvironmentOptions = z.input<typeof environmentOptionsSchema>;
export type ResolvedEnvironmentOptions = z.output<typeof environmentOptionsSchema>;
