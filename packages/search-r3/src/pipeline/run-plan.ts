/**
 * Runs a plan: its stages in order, each as often as it has to. A training stage has a run folder of its own, which this
 * file opens, resumes, and completes with scores on validation queries, a result, a report and the model. The model
 * comes last: a folder that has it is finished.
 */
import { join } from 'node:path';
import type { Collection, Qrels } from '../dataset/index.js';
import {
  exists,
  type ProgressReporter,
  RunFolder,
  type RunFolderOptions,
  removeFolder,
} from '../run/index.js';
import { renderReport } from '../run/report/index.js';
import { partProgress } from './part-progress.js';
import { readSteps } from './report/curves.js';
import { runReport } from './report/run-report.js';
import { finishedStage, MODEL, REPORT, RESULT, type StageResult } from './result.js';
import { type EvaluationSettings, evaluatePolicy } from './stages/evaluate.js';
import type {
  Fingerprint,
  Stage,
  TrainingStage,
  TrainingStageSettings,
  Validate,
  ValidationSystem,
  Work,
} from './stages/stage.js';

/** How a command runs, besides its settings. */
export interface RunOptions {
  /** Continue the run in the folder. */
  resume?: boolean;
  /** Replace the run in the folder. */
  overwrite?: boolean;
  progress?: ProgressReporter;
  signal?: AbortSignal;
  /** Called with notes for people. */
  onNote?: (text: string) => void;
  /** Names the settings in errors. Default `settings`. */
  source?: string;
}

/** Stages in order, and what they come to. */
export interface Plan<Result> {
  /** The run folder around those of the stages. A stage alone has none. */
  readonly whole?: { readonly folder: string; readonly fingerprint: Fingerprint };
  readonly stages: readonly PlannedStage<unknown>[];
  /** Asked for when all stages have run. */
  readonly result: () => Result;
}

/** A stage with its settings and the sources of its input. */
export interface PlannedStage<Output> extends Pick<Stage<never, never, Output>, 'name' | 'outputs'> {
  readonly inputs: readonly string[];
  run(options: RunOptions): Promise<void>;
  /** @throws Error before the stage has run. */
  output(): Output;
}

/** Where each input comes from; asked once, when the stage starts, and not at all when it is done already. */
export type Sources<Input> = { readonly [K in keyof Input]: () => Input[K] | Promise<Input[K]> };

/** Queries that no stage learns from, to watch a training stage by. */
export interface Validation {
  collection: Collection;
  qrels: Qrels;
  options: Omit<EvaluationSettings, 'systems'>;
  /** What is scored when the stage has finished. */
  afterwards: readonly ValidationSystem[];
  /** Shows the progress of evaluations. */
  progress?: ProgressReporter | undefined;
}

export interface TrainingPlan<Input> {
  settings: TrainingStageSettings;
  sources: Sources<Input>;
  /** Run folder. */
  folder: string;
  /** Checked with the input, before anything is written. */
  validation?: (input: Input) => Validation | undefined | Promise<Validation | undefined>;
  /** For a stage that is part of a larger run. */
  part?: {
    /** Told when the stage starts. */
    about: string;
    /** A finished stage of fewer steps goes on. Default 0: it is done. */
    steps?: number;
  };
}

export async function runPlan<Result>(
  { whole, stages, result }: Plan<Result>,
  options: RunOptions,
): Promise<Result> {
  if (whole === undefined) {
    for (const stage of stages) await stage.run(options);
    return result();
  }
  const { resume: _, overwrite: __, ...inner } = options;
  const { config, mayChange } = whole.fingerprint;
  const run = await RunFolder.create(whole.folder, config, { ...existing(options), mayChange });
  return within(run, async () => {
    for (const stage of stages) await stage.run(inner);
    return result();
  });
}

/** A stage that keeps nothing to resume from: it runs each time. */
export function planned<Settings, Input, Output>(
  stage: Stage<Settings, Input, Output>,
  settings: Settings,
  sources: Sources<Input>,
): PlannedStage<Output> {
  return entry(stage, async (options) =>
    stage.run(settings, await gathered(stage.inputs, sources), workOf(options)),
  );
}

/** A stage that trains. As a part of a larger run it is skipped when it is done, and resumed when it was begun. */
export function plannedTraining<Input>(
  stage: TrainingStage<Input>,
  plan: TrainingPlan<Input>,
): PlannedStage<StageResult> {
  const { folder, part } = plan;
  return entry(stage, async (options) => {
    if (part === undefined) return train(stage, plan, options);
    const { about, steps = 0 } = part;
    const result = await finishedStage(folder);
    if (result !== undefined && result.steps >= steps) return result;
    options.signal?.throwIfAborted();
    options.onNote?.(about);
    return train(stage, plan, { ...options, resume: await exists(folder) });
  });
}

function entry<Output>(
  { name, inputs, outputs }: { name: string; inputs: readonly string[]; outputs: readonly string[] },
  work: (options: RunOptions) => Promise<Output>,
): PlannedStage<Output> {
  let done: { output: Output } | undefined;
  return {
    name,
    inputs,
    outputs,
    run: async (options) => {
      done = { output: await work(options) };
    },
    output: () => {
      if (done === undefined) throw new Error(`internal: the stage ${name} has not run yet`);
      return done.output;
    },
  };
}

async function gathered<Input>(names: readonly (keyof Input)[], sources: Sources<Input>): Promise<Input> {
  const found: Partial<Input> = {};
  for (const name of names) found[name] = await sources[name]();
  if (!isWhole(found, sources)) throw new Error('internal: a stage has a source that it does not name');
  return found;
}

/** Whether every source was asked. */
const isWhole = <Input>(found: Partial<Input>, sources: Sources<Input>): found is Input =>
  Object.keys(sources).every((name) => name in found);

/** Trains in the run folder and leaves result, report and model there. */
async function train<Input>(
  stage: TrainingStage<Input>,
  { settings, sources, folder, ...plan }: TrainingPlan<Input>,
  options: RunOptions,
): Promise<StageResult> {
  const { name } = stage;
  const work = workOf(options);
  const input = await gathered(stage.inputs, sources);
  const { config, mayChange } = await stage.fingerprint(settings, input, work);
  const watched = await plan.validation?.(input);
  const validate = watched && validator(watched, options);
  const run = await RunFolder.create(folder, config, { ...existing(options), mayChange });
  return within(run, async () => {
    const warnings = warningNotes(name, work);
    const model = await stage.run(settings, input, {
      ...work,
      run,
      saveEvery: settings.saveEvery,
      ...(validate && { validate }),
      onWarning: warnings.add,
    });
    warnings.close();
    const scored = watched?.afterwards ?? [];
    const validation = validate && scored.length > 0 ? await validate(model, scored) : null;
    await model.dispose();
    await run.events.flush();
    await run.completions.flush();
    const steps = (await readSteps(run.events.path)).filter((step) => step.stage === name);
    const last = steps.at(-1);
    const result = { stage: name, steps: last?.step ?? 0, metrics: last?.metrics ?? {}, validation };
    // Of fewer steps, from before the run went on: beside the new result it would pass for its model.
    if (await exists(join(folder, MODEL))) await removeFolder(join(folder, MODEL));
    await run.writeFile(RESULT, `${JSON.stringify(result, null, 2)}\n`);
    const placed = { ...result, run: folder, model: join(folder, MODEL) };
    await run.writeFile(REPORT, renderReport(await runReport(folder, config, [placed])));
    await model.save(join(folder, MODEL), { overwrite: true });
    return placed;
  });
}

/** nDCG@10 on the validation queries. */
function validator({ collection, qrels, options, progress }: Validation, { signal }: RunOptions): Validate {
  return async (model, systems) => {
    const { evaluation } = await evaluatePolicy(model, collection, qrels, {
      ...options,
      systems,
      ...(signal && { signal }),
      ...(progress && { onProgress: partProgress(progress, 'validation') }),
    });
    return Object.fromEntries(
      evaluation.systems.map(({ system, scores }) => [system, scores['ndcg@10'].mean]),
    );
  };
}

/** Does the work of a run and closes it, also when the work fails. */
async function within<T>(run: RunFolder, work: () => Promise<T>): Promise<T> {
  let result: T;
  try {
    result = await work();
  } catch (error) {
    await run.abandon();
    throw error;
  }
  await run.close();
  return result;
}

/** Tells each kind of warning when it first comes, and at the end how often it came: steps may all have the same. */
function warningNotes(stage: string, { onNote }: Work) {
  const counts = new Map<string, number>();
  return {
    add: (step: number, { code, message }: { code: string; message: string }): void => {
      const count = (counts.get(code) ?? 0) + 1;
      counts.set(code, count);
      if (count === 1) onNote(`warning: ${stage} step ${step}: ${message}`);
    },
    close: (): void => {
      for (const [code, count] of counts) {
        if (count > 1) onNote(`warning: ${stage}: ${code} at ${count} steps`);
      }
    },
  };
}

const workOf = ({ progress, signal, onNote = () => {}, source = 'settings' }: RunOptions): Work => ({
  source,
  onNote,
  ...(progress && { progress }),
  ...(signal && { signal }),
});

const existing = ({ resume = false, overwrite = false }: RunOptions): RunFolderOptions => ({
  resume,
  overwrite,
});
