/** The commands that train and evaluate: each is its plan, run. */
import type { EvaluateSettings, PretrainSettings, RlSettings, SftSettings, TrainSettings } from './config.js';
import { evaluationPlan } from './evaluation-plan.js';
import { pretrainPlan, rlPlan, sftPlan, type TrainResult, trainPlan } from './plan.js';
import type { FinishedEvaluation } from './report/evaluation.js';
import type { StageResult } from './result.js';
import { type RunOptions, runPlan } from './run-plan.js';

/** Trains a tokenizer and a small model from scratch on the text of a collection. */
export const pretrain = async (settings: PretrainSettings, options: RunOptions = {}): Promise<StageResult> =>
  runPlan(await pretrainPlan(settings, options), options);

/** Stage 1 on the base model of the settings. */
export const sft = async (settings: SftSettings, options: RunOptions = {}): Promise<StageResult> =>
  runPlan(await sftPlan(settings, options), options);

/** Stage 2 on the model of the settings. */
export const rl = async (settings: RlSettings, options: RunOptions = {}): Promise<StageResult> =>
  runPlan(await rlPlan(settings, options), options);

/** The whole pipeline, each stage in its own folder of the run. Resumed, finished stages are skipped. */
export const train = async (settings: TrainSettings, options: RunOptions = {}): Promise<TrainResult> =>
  runPlan(await trainPlan(settings, options), options);

/** Evaluates as the settings say. @throws InputError on anything wrong with settings, data or model. */
export const evaluateModel = async (
  settings: EvaluateSettings,
  options: EvaluationOptions = {},
): Promise<FinishedEvaluation> => runPlan(await evaluationPlan(settings, options), options);

export type EvaluationOptions = Pick<RunOptions, 'progress' | 'signal' | 'onNote'>;
