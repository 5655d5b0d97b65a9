/** `search-r3 sft`: stage 1, which trains a base model to embed, directly and after its own reasoning. */
import { Command } from 'commander';
import { configFlag, examples } from '../options.js';
import { describeStage, runTraining, withMissing, withPromptFile, withTraining } from '../training.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).sftSettings;

export function sftCommand(): Command {
  const command = new Command('sft').description(
    'Stage 1: teach a base model to embed, directly and after its own reasoning.',
  );
  withTraining(command, loadSchema);
  configFlag(command, '-b, --base <folder>', 'base');
  withPromptFile(command);
  withMissing(command);
  configFlag(command, '--steps <n>', 'sft.steps');
  configFlag(command, '--batch-size <n>', 'sft.batchSize');
  configFlag(command, '--learning-rate <x>', 'sft.optimization.learningRate');
  configFlag(command, '--title-pairs', 'queries.titlePairs');
  examples(command, [
    {
      command: 'sft --base runs/base/model --data data/scifact --out runs/sft --title-pairs',
      does: 'Run stage 1 on half of the training queries and the titles of the corpus.',
    },
    {
      command:
        'sft --config examples/scifact.yaml --base runs/base/model --out runs/cold --set sft.temperature=0.07',
      does: 'Use the settings of a file, but change one of them.',
    },
    {
      command: 'sft --out runs/sft --resume',
      does: 'Continue after Ctrl-C or a crash, with the settings of the run.',
    },
  ]);
  return command.action(async () => {
    const { sft } = await import('../../pipeline/index.js');
    await runTraining(command, 'sft', await loadSchema(), sft, describeStage);
  });
}
