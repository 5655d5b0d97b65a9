/** `search-r3 pretrain`: trains a tokenizer and a small model from scratch. */
import { Command } from 'commander';
import { configFlag, examples } from '../options.js';
import { describeStage, runTraining, withTraining } from '../training.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).pretrainSettings;

export function pretrainCommand(): Command {
  const command = new Command('pretrain').description(
    'Train a tokenizer and a small model from scratch on the text of a collection, as a base for sft.',
  );
  withTraining(command, loadSchema);
  configFlag(command, '--steps <n>', 'pretrain.steps');
  configFlag(command, '--batch-size <n>', 'pretrain.batchSize');
  configFlag(command, '--vocab-size <n>', 'pretrain.vocabSize');
  examples(command, [
    {
      command: 'pretrain --data data/scifact --out runs/base --steps 500',
      does: 'Train a base model on the documents of a collection; it is saved to runs/base/model.',
    },
    {
      command: 'pretrain --data atlas --out runs/atlas-base',
      does: 'Train the base model of the built-in world.',
    },
    {
      command: 'pretrain --out runs/base --resume',
      does: 'Continue after Ctrl-C or a crash, with the settings of the run.',
    },
  ]);
  return command.action(async () => {
    const { pretrain } = await import('../../pipeline/index.js');
    await runTraining(command, 'pretrain', await loadSchema(), pretrain, describeStage);
  });
}
