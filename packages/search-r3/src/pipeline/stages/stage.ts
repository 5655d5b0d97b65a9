/** What the stages of the table have in common: their shape, and what they work with. */
import type { Model, Policy } from '../../model/index.js';
import type { LoopOptions } from '../../train/index.js';
import type { Sized } from '../data/collection-size.js';
import { MODEL, REPORT, RESULT, type StageName } from '../result.js';
import type { Settings } from '../settings.js';

/** One row of the table. */
export interface Stage<StageSettings, Input, Output> {
  readonly name: string;
  /** What it needs, by name, in the order in which it is loaded. */
  readonly inputs: readonly (keyof Input & string)[];
  /** Files and folders that it leaves, the last of them when it has finished. */
  readonly outputs: readonly string[];
  /**
   * What the output follows from. The run folder keeps it, and a run resumes only where it is the same. A stage without
   * one has no run folder: it runs each time. Nothing has been written yet, so this is also where settings that do not
   * fit the input are refused.
   */
  fingerprint?(settings: StageSettings, input: Input, work: Notes): Promise<Fingerprint>;
  run(settings: StageSettings, input: Input, work: Work): Promise<Output>;
}

/** A stage that trains a model. `run-plan.ts` gives it a run folder, saves the model there and frees its sessions. */
export interface TrainingStage<Input> extends Stage<TrainingStageSettings, Input, Model<Policy>> {
  readonly name: StageName;
  fingerprint(settings: TrainingStageSettings, input: Input, work: Notes): Promise<Fingerprint>;
}

export type TrainingStageSettings = Sized<Settings & { data: string }>;

export interface Fingerprint {
  /** Plain values, as `config.yaml` shows them. */
  config: Record<string, unknown>;
  /** Dotted keys of `config` that may differ when the run resumes. */
  mayChange: readonly string[];
}

/** For people. */
export interface Notes {
  /** Names the settings in errors. */
  source: string;
  onNote: (text: string) => void;
}

/** What a stage works with besides its input; what the training loop takes is passed on to it. */
export interface Work
  extends Notes,
    Pick<LoopOptions, 'run' | 'saveEvery' | 'progress' | 'signal' | 'onWarning'> {
  /** nDCG@10 on the validation queries, by system; undefined where there are none. */
  validate?: Validate;
}

export type Validate = (
  model: Model<Policy>,
  systems: readonly ValidationSystem[],
) => Promise<Record<string, number>>;
export type ValidationSystem = 'direct' | 'reasoned';

/** What every training stage leaves. */
export const TRAINING_OUTPUTS = [RESULT, REPORT, MODEL] as const;

/** Settings that change no number of a run, or name what the fingerprints identify. */
export const FREE_SETTINGS = [
  'data',
  'base',
  'model',
  'saveEvery',
  'validation.every',
  'validation.queries',
] as const;
