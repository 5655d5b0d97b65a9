/** `search-r3 train`: the whole pipeline, from a collection to a model that reasons before it embeds. */
import { Command } from 'commander';
import { configFlag, examples } from '../options.js';
import { describeStage, runTraining, withMissing, withTraining } from '../training.js';

export function trainCommand(): Command {
  const command = new Command('train').description(
    'The whole pipeline on a collection: pre-training unless a base model is given, stage 1, stage 2.',
  );
  withTraining(command);
  configFlag(command, '-b, --base <folder>', 'base model; without it one is trained from scratch', 'base');
  withMissing(command, 'they are left out');
  configFlag(command, '--pretrain-steps <n>', 'steps of pre-training', 'pretrain.steps');
  configFlag(command, '--sft-steps <n>', 'steps of stage 1', 'sft.steps');
  configFlag(command, '--rl-steps <n>', 'steps of stage 2', 'rl.steps');
  configFlag(
    command,
    '--title-pairs',
    'learn from titles as queries for their texts too',
    'queries.titlePairs',
  );
  examples(command, [
    {
      command: 'train --config examples/scifact.yaml --data data/scifact',
      does: 'Everything, as the file says; the model is runs/scifact/model.',
    },
    {
      command: 'train --base models/qwen --data data/mine --out runs/mine --title-pairs',
      does: 'Both stages on a model that is there.',
    },
    {
      command: 'train --config examples/scifact.yaml --data data/scifact --resume',
      does: 'Go on after Ctrl-C or a crash; finished stages are skipped.',
    },
  ]);
  return command.action(async () => {
    const { train, trainSettings } = await import('../../pipeline/index.js');
    await runTraining(command, trainSettings, train, ({ stages, model, report }) =>
      [...stages.map(describeStage), `model:  ${model}`, `report: ${report}`].join('\n'),
    );
  });
}
