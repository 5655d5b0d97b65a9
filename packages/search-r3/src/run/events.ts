/** The records a run appends to `events.jsonl` and `completions.jsonl`. */
import { z } from 'zod';

/** Steps finished when the record was written. Resuming at step 2 removes the records of step 3. */
const step = z.int().nonnegative();
/** The part of the run, for example `sft`. */
const stage = z.string();
/** Named numbers; null stands for a number that is not finite, which JSON cannot express. */
const metrics = z.record(z.string(), z.number().nullable());

/** One training step. */
const stepEvent = z.strictObject({
  type: z.literal('step'),
  stage,
  step,
  metrics,
  /** Seconds by part of the step. Kept apart from the metrics, which are equal for equal runs. */
  timings: z.record(z.string(), z.number()),
});

/** An evaluation on held-out queries; `name` is what was evaluated, for example `reasoned`. */
const evaluationEvent = z.strictObject({
  type: z.literal('evaluation'),
  stage,
  step,
  name: z.string(),
  metrics,
});

/** Something a person should know. `code` is a stable name for programs. */
const warningEvent = z.strictObject({
  type: z.literal('warning'),
  stage,
  step,
  code: z.string(),
  message: z.string(),
});

export const runEventSchema = z.discriminatedUnion('type', [stepEvent, evaluationEvent, warningEvent]);

export type Metrics = z.infer<typeof metrics>;
export type StepEvent = z.infer<typeof stepEvent>;
export type EvaluationEvent = z.infer<typeof evaluationEvent>;
export type WarningEvent = z.infer<typeof warningEvent>;
export type RunEvent = z.infer<typeof runEventSchema>;

/** One sampled completion of stage 2. */
export const completionSchema = z.strictObject({
  step,
  queryId: z.string(),
  query: z.string(),
  /** Which of the samples of this query, from 0. */
  sample: z.int().nonnegative(),
  /** The text before the embed token. */
  reasoning: z.string(),
  reward: z.number(),
  /** Rank of the best positive, from 1; null without an embedding. */
  rank: z.int().positive().nullable(),
  /** Sampled tokens, including the embed token. */
  tokens: z.int().nonnegative(),
  /** `truncated`: cut at the length limit; `no_embed_token`: the model stopped without an embed token. */
  outcome: z.enum(['embedded', 'truncated', 'no_embed_token']),
});

export type CompletionRecord = z.infer<typeof completionSchema>;
