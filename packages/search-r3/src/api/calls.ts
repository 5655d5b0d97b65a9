/** The entry points of the library: load a retriever, train, evaluate. By default each works in its own thread. */
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
import { abortable, RemoteRetriever, startThread } from './remote-retriever.js';
import type { Retriever, RetrieverOptions } from './types.js';

/**
 * Loads a model folder for embedding and search: one made by `train`, `sft`, `rl` or `demo`, or any base model.
 *
 * ```ts
 * await using retriever = await loadRetriever('runs/mine/model');
 * const [query] = await retriever.embed(['which proteins repair DNA?'], { reasoning: true });
 * ```
 *
 * @throws InputError if the folder holds no model, a damaged one, or one that cannot embed as the options ask.
 */
export async function loadRetriever(folder: string, options: RetrieverOptions = {}): Promise<Retriever> {
  const { thread = 'worker', ...how } = options;
  return thread === 'current' ? LocalRetriever.load(folder, how) : RemoteRetriever.load(folder, how);
}

/**
 * The whole pipeline on a collection: pre-training unless a base model is given, stage 1, stage 2. The result names the
 * model folder and the report. A run that was aborted or killed continues bit for bit with `resume`.
 *
 * @throws InputError for unusable settings, data or models, before anything is written; InterruptedError when aborted;
 * DivergenceError if a gradient is not finite.
 */
export async function train(config: TrainConfig, options: TrainOptions = {}): Promise<TrainResult> {
  return job('train', config, options);
}

/** Trains a tokenizer and a small model from scratch on the text of a collection. Errors: as `train`. */
export async function pretrain(config: PretrainConfig, options: TrainOptions = {}): Promise<StageResult> {
  return job('pretrain', config, options);
}

/** Stage 1 alone: a base model learns to embed, directly and after its own reasoning. Errors: as `train`. */
export async function sft(config: SftConfig, options: TrainOptions = {}): Promise<StageResult> {
  return job('sft', config, options);
}

/** Stage 2 alone: a model of stage 1 learns which reasoning makes its embedding find documents. Errors: as `train`. */
export async function rl(config: RlConfig, options: TrainOptions = {}): Promise<StageResult> {
  return job('rl', config, options);
}

/**
 * Evaluates a model on a split of a collection: BM25, direct and reasoned embeddings and their hybrids, with bootstrap
 * intervals and paired tests. Errors: as `train`.
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
  const worker = startThread();
  try {
    return await worker.remote.runJob(name, config, abortable(options));
  } finally {
    await worker.dispose();
  }
}
