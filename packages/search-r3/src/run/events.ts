/** What a run writes down as it goes: `events.jsonl` (one object per step) and `completions.jsonl`. */
import { z } from 'zod';

/** How many steps were finished when the record was written: a record of step 3 is gone when resuming at step 2. */
const step = z.int().nonnegative();
/** Which part of a run, for example `sft`. */
const stage = z.string();
/** Named numbers; null stands for what is not a finite number (JSON has none of these). */
const metrics = z.record(z.string(), z.number().nullable());

/** One training step. */
const stepEvent = z.strictObject({
  type: z.literal('step'),
  stage,
  step,
  metrics,
  /** Seconds by part of the step: apart from the metrics, because two equal runs differ in nothing else. */
  timings: z.record(z.string(), z.number()),
});

/** An evaluation on held-out queries; `name` says of what, for example `reasoned`. */
const evaluationEvent = z.strictObject({
  type: z.literal('evaluation'),
  stage,
  step,
  name: z.string(),
  metrics,
});

/** Something a person should know. `code` is the stable name of the condition, for machines. */
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
  /** Rank of the best positive, from 1; null where there was no embedding to rank with. */
  rank: z.int().positive().nullable(),
  /** Sampled tokens, the embed token included. */
  tokens: z.int().nonnegative(),
  /** `truncated`: cut at the length limit; `no_embed_token`: ended by itself without one. */
  outcome: z.enum(['embedded', 'truncated', 'no_embed_token']),
});

export type CompletionRecord = z.infer<typeof completionSchema>;
