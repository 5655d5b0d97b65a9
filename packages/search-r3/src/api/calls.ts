/** The calls a program starts from: load a retriever, train, evaluate; in a thread of their own unless told otherwise. */
import type { FinishedEvaluation, StageResult, TrainResult } from '../pipeline/index.js';
import {
  type EvaluateConfig,
  type EvaluateOptions,
  type JobName,
  type Jobs,
  type PretrainConfig,
  type RlConfig,
  runJob,
  type SftConfig,
  type TrainConfig,
  type TrainOptions,
} from './jobs.js';
import { LocalRetriever } from './local-retriever.js';
import { RemoteRetriever } from './remote-retriever.js';
import type { Retriever, RetrieverOptions } from './types.js';
import { Thread } from './worker/thread.js';

/**
 * Loads a model folder that `train` has made (of `sft`, `rl` and `demo` too), to embed and to search with.
 *
 * ```ts
 * await using retriever = await loadRetriever('runs/mine/model');
 * const [query] = await retriever.embed(['which proteins repair DNA?'], { reasoning: true });
 * ```
 *
 * @throws InputError where the folder holds no model, what it holds is damaged, or it is a base model.
 */
export async function loadRetriever(folder: string, options: RetrieverOptions = {}): Promise<Retriever> {
  const { thread = 'worker', ...how } = options;
  return thread === 'current' ? LocalRetriever.load(folder, how) : RemoteRetriever.load(folder, how);
}

/**
 * The whole pipeline on a collection: pre-training unless a base model is given, stage 1, stage 2. The result names the
 * model folder and the report. Stopped by its signal or killed, it goes on with `resume`, to the bit.
 *
 * @throws InputError for settings, data or a model that can not be used, before anything is written; InterruptedError
 * when aborted; DivergenceError where a gradient is not finite.
 */
export async function train(config: TrainConfig, options: TrainOptions = {}): Promise<TrainResult> {
  return job('train', config, options);
}

/** A tokenizer and a small model from scratch on the text of a collection. Errors: those of `train`. */
export async function pretrain(config: PretrainConfig, options: TrainOptions = {}): Promise<StageResult> {
  return job('pretrain', config, options);
}

/** Stage 1 alone: a base model learns to embed, directly and after its own reasoning. Errors: those of `train`. */
export async function sft(config: SftConfig, options: TrainOptions = {}): Promise<StageResult> {
  return job('sft', config, options);
}

/** Stage 2 alone: a model of stage 1 learns which reasoning makes its embedding find documents. Errors: those of `train`. */
export async function rl(config: RlConfig, options: TrainOptions = {}): Promise<StageResult> {
  return job('rl', config, options);
}

/**
 * What a model is worth on a split of a collection: BM25, direct and reasoned embeddings and their hybrids, with
 * bootstrap intervals and paired tests. Errors: those of `train`.
 */
export async function evaluate(
  config: EvaluateConfig,
  options: EvaluateOptions = {},
): Promise<FinishedEvaluation> {
  return job('evaluate', config, options);
}

async function job<J extends JobName>(
  name: J,
  config: Jobs[J]['config'],
  { thread = 'worker', ...options }: TrainOptions,
): Promise<Jobs[J]['result']> {
  if (thread === 'current') return runJob(name, config, options);
  const worker = new Thread();
  try {
    const argument = { name, config } as { [N in JobName]: { name: N; config: Jobs[N]['config'] } }[JobName];
    return (await worker.call('job', argument, options)) as Jobs[J]['result'];
  } finally {
    // A job whose callback has thrown is still at work: it ends at its step, and gives its folders free.
    await worker.end(() => worker.call('dispose', undefined));
  }
}
