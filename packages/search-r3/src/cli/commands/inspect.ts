/** `search-r3 inspect`: shows what a run, a model or a collection holds, or what a command would take. */
import { Command, Option } from 'commander';
import { InputError } from '../../run/errors.js';
import { examples, outputOf, setOption, withOutput } from '../options.js';

/** `ESTIMATED`, which a test compares; help loads nothing. */
export const PLANNED = ['train', 'pretrain', 'sft', 'rl', 'evaluate', 'index'] as const;

export function inspectCommand(): Command {
  const command = new Command('inspect')
    .description(
      'Show what a run folder, a model folder, an index, a BEIR collection or one of their files holds, or what a command would take.',
    )
    .argument(
      '[path]',
      'run folder, model folder, index folder, BEIR folder, .safetensors, .gguf or state file',
    )
    .addOption(
      new Option('--plan <config>', 'show how much memory and time a command with these settings would take'),
    )
    .addOption(new Option('--for <command>', 'the command of --plan').choices(PLANNED).default('train'))
    .addOption(setOption());
  withOutput(command);
  examples(command, [
    { command: 'inspect runs/first', does: 'Show the steps, latest metrics and checkpoints of a run.' },
    {
      command: 'inspect runs/first/checkpoints/step-120/model',
      does: 'Show the architecture and parameters of a checkpoint.',
    },
    {
      command: 'inspect --plan examples/scifact.yaml --set data=data/scifact',
      does: 'Estimate the memory and the time of train with the settings of a file, part by part.',
    },
    {
      command: 'inspect data/scifact --json',
      does: 'Show the documents, queries and judgements of a collection, as JSON.',
    },
  ]);
  return command.action(async (path: string | undefined) => {
    const { plan } = command.opts<{ plan?: string }>();
    if ((path === undefined) === (plan === undefined)) {
      const found = path === undefined ? 'neither' : 'both';
      throw new InputError({ source: 'inspect', expected: 'a path or --plan', found });
    }
    const { value, text } =
      path === undefined
        ? await (await import('../inspect/plan.js')).inspectPlan(command)
        : await (await import('../inspect/index.js')).inspect(path);
    outputOf(command).result(value, text);
  });
}
