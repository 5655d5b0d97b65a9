/** `search-r3 train`: the whole pipeline, from a collection to a model that reasons before it embeds. */
import { Command } from 'commander';
import { configFlag, examples } from '../options.js';
import { describeStage, runTraining, withMissing, withPromptFile, withTraining } from '../training.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).trainSettings;

export function trainCommand(): Command {
  const command = new Command('train').description(
    'Run the whole pipeline on a collection: pre-training (unless you give a base model), stage 1, stage 2.',
  );
  withTraining(command, loadSchema);
  configFlag(command, '-b, --base <folder>', 'base');
  withPromptFile(command);
  withMissing(command);
  configFlag(command, '--pretrain-steps <n>', 'pretrain.steps');
  configFlag(command, '--sft-steps <n>', 'sft.steps');
  configFlag(command, '--rl-steps <n>', 'rl.steps');
  configFlag(command, '--title-pairs', 'queries.titlePairs');
  examples(command, [
    {
      command: 'train --config examples/scifact.yaml --data data/scifact',
      does: 'Train with the settings of the file; the model is saved to runs/scifact/model.',
    },
    {
      command: 'train --base models/qwen --data data/mine --out runs/mine --title-pairs',
      does: 'Run both stages on an existing model.',
    },
    {
      command: 'train --config examples/scifact.yaml --data data/scifact --resume',
      does: 'Continue after Ctrl-C or a crash; finished stages are skipped.',
    },
  ]);
  return command.action(async () => {
    const { train } = await import('../../pipeline/index.js');
    await runTraining(command, 'train', await loadSchema(), train, ({ stages, model, report }) =>
      [...stages.map(describeStage), `model:  ${model}`, `report: ${report}`].join('\n'),
    );
  });
}
