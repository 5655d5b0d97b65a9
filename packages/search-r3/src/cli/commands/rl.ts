/** `search-r3 rl`: stage 2, which trains the model to reason so that its embedding finds the documents. */
import { Command } from 'commander';
import { configFlag, examples } from '../options.js';
import { describeStage, runTraining, withMissing, withTraining } from '../training.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).rlSettings;

export function rlCommand(): Command {
  const command = new Command('rl').description(
    'Stage 2: teach a model from stage 1 to reason so that its embedding finds the documents (GRPO).',
  );
  withTraining(command, loadSchema);
  configFlag(command, '-m, --model <folder>', 'model');
  withMissing(command);
  configFlag(command, '--steps <n>', 'rl.steps');
  configFlag(command, '--queries-per-step <n>', 'rl.queriesPerStep');
  configFlag(command, '--group-size <n>', 'rl.groupSize');
  configFlag(command, '--learning-rate <x>', 'rl.optimization.learningRate');
  examples(command, [
    {
      command: 'rl --model runs/sft/model --data data/scifact --out runs/rl',
      does: 'Run stage 2 on the training queries that stage 1 did not use.',
    },
    {
      command:
        'rl --model runs/atlas-sft/model --data atlas --out runs/atlas-rl --steps 120 --set validation.every=20',
      does: 'In the built-in world, with validation queries evaluated every 20 steps.',
    },
    {
      command: 'rl --out runs/rl --resume',
      does: 'Continue after Ctrl-C or a crash, with the settings of the run.',
    },
  ]);
  return command.action(async () => {
    const { rl } = await import('../../pipeline/index.js');
    await runTraining(command, 'rl', await loadSchema(), rl, describeStage);
  });
}
