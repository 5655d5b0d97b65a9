/** `search-r3 targets`: writes the reasoning targets of stage 1 to a file, to look through and edit before training. */
import { Command } from 'commander';
import { untilStopped } from '../interrupt.js';
import { configFlag, examples, outputOf, withConfig, withData, withOutput } from '../options.js';
import { withMissing } from '../training.js';
import { refuseHubName } from '../using.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).targetSettings;

export function targetsCommand(): Command {
  const command = new Command('targets').description(
    'Write the reasoning targets of stage 1 to a file, to look through and edit before training.',
  );
  withConfig(command, loadSchema);
  withData(command);
  configFlag(command, '--seed <n>', 'seed');
  configFlag(command, '-b, --base <folder>', 'base');
  withMissing(command);
  configFlag(command, '--source <name>', 'sft.reasoning.source');
  configFlag(command, '-f, --file <file>', 'sft.reasoning.file');
  withOutput(command);
  examples(command, [
    {
      command: 'targets --base models/qwen --data data/mine --source grounded --file targets.jsonl',
      does: 'Write what the relevant documents give. Targets that the file has already stay as they are.',
    },
    {
      command:
        'targets --config examples/scifact.yaml --data data/scifact --base models/qwen --file targets.jsonl',
      does: 'Use the settings of a file. Train on the targets with --set sft.reasoning.source=file.',
    },
  ]);
  return command.action(async () => {
    const [{ writeTargets }, { asGiven, loadConfig }] = await Promise.all([
      import('../../pipeline/index.js'),
      import('../config.js'),
    ]);
    const settings = await loadConfig(command, await loadSchema());
    await refuseHubName(settings.base);
    const { config } = command.opts<{ config?: string }>();
    const output = outputOf(command);
    const progress = await output.progress();
    try {
      const work = (signal: AbortSignal) =>
        writeTargets(settings, {
          ...(config !== undefined && { source: config }),
          ...{ progress, signal },
          onNote: (note) => output.note(note),
        });
      const result = await untilStopped(output, work);
      progress.close();
      output.result(result, () => `${result.file}: ${result.targets} targets, ${result.kept} of them kept`);
    } catch (error) {
      throw asGiven(command, error, config ?? 'settings');
    } finally {
      progress.close();
    }
  });
}
