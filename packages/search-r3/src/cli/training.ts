/** Options, execution and result text that the training commands share. Loads nothing heavy. */
import { type Command, Option } from 'commander';
import type { z } from 'zod';
import type { DataSettings, EstimatedCommand, RunOptions, StageResult } from '../pipeline/index.js';
import { InterruptedError } from '../run/errors.js';
import { announce, withEstimate } from './estimate.js';
import { untilStopped } from './interrupt.js';
import { configFlag, type LoadSchema, outputOf, withConfig, withData, withOutput } from './options.js';
import { refuseHubName } from './using.js';

/** Adds the options of a training command: data, run folder, settings and output. */
export function withTraining(command: Command, schema: LoadSchema): Command {
  withConfig(command, schema);
  withData(command);
  configFlag(command, '-o, --out <folder>', 'out');
  configFlag(command, '--seed <n>', 'seed');
  configFlag(command, '--save-every <n>', 'saveEvery');
  command
    .addOption(
      new Option(
        '--resume',
        'continue the run in the folder, with its settings unless you give others',
      ).conflicts('overwrite'),
    )
    .addOption(new Option('--overwrite', 'replace the run in the folder'));
  withEstimate(command);
  return withOutput(command);
}

/** Adds `--prompt-file`. */
export function withPromptFile(command: Command): Command {
  return command.addOption(
    new Option('--prompt-file <file>', 'YAML file with the setting prompts, as tune-prompt writes it'),
  );
}

/** Adds `--allow-missing`. */
export function withMissing(command: Command): Command {
  return configFlag(command, '--allow-missing', 'allowMissing');
}

/** Loads the settings of a training command, runs its work until it ends or is interrupted, and shows the result. */
export async function runTraining<S extends DataSettings & { out: string }, T>(
  command: Command,
  name: EstimatedCommand,
  schema: z.ZodType<S>,
  work: (settings: S, options: RunOptions) => Promise<T>,
  text: (result: T) => string,
): Promise<void> {
  const { asGiven, loadConfig } = await import('./config.js');
  const settings = await loadConfig(command, schema);
  for (const model of [settings.base, settings.model]) await refuseHubName(model);
  const output = outputOf(command);
  const { resume, overwrite, config } = command.opts<{
    resume?: boolean;
    overwrite?: boolean;
    config?: string;
  }>();
  await announce(command, name, settings, output, config);
  const progress = await output.progress();
  try {
    const result = await untilStopped(
      output,
      (signal) =>
        work(settings, {
          ...(resume !== undefined && { resume }),
          ...(overwrite !== undefined && { overwrite }),
          ...(config !== undefined && { source: config }),
          progress,
          signal,
          onNote: (note) => output.note(note),
        }),
      'finishing and saving the current work',
    );
    progress.close();
    output.result(result, () => text(result));
  } catch (error) {
    throw await withWayOn(asGiven(command, error, config ?? 'settings'), settings.out);
  } finally {
    progress.close();
  }
}

/** Adds to an interruption error how to continue the run at `out`. Returns any other error unchanged. */
export async function withWayOn(error: unknown, out: string): Promise<unknown> {
  if (!(error instanceof InterruptedError)) return error;
  const { isRunFolder } = await import('../run/run-folder.js');
  const next = (await isRunFolder(out))
    ? `run the same command with --resume to continue${throughNpm()}`
    : 'nothing to resume yet';
  return new InterruptedError(`${error.message}; ${next}`);
}

/** The npm form of `--resume`, if an npm script runs this program: npm passes on only flags after two dashes. */
function throughNpm(): string {
  const { npm_lifecycle_event: name, npm_lifecycle_script: script } = process.env;
  return script?.includes('cli/main.js') ? ` (npm run ${name} -- --resume)` : '';
}

/** Describes the result of a stage to the user. */
export function describeStage({ stage, steps, metrics, validation, model, run }: StageResult): string {
  const shown = Object.entries(metrics).map(
    ([name, value]) => `${name} ${value === null ? 'not finite' : Number(value.toPrecision(4))}`,
  );
  const scores = Object.entries(validation ?? {}).map(([system, score]) => `${system} ${score.toFixed(3)}`);
  return [
    `${stage}: ${steps} steps`,
    `  last step   ${shown.join(', ')}`,
    ...(scores.length === 0 ? [] : [`  validation  nDCG@10 ${scores.join(', ')}`]),
    `  model       ${model}`,
    `  report      ${run}/report.html`,
  ].join('\n');
}
