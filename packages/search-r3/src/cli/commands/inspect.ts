/** `search-r3 inspect`: shows what a run, a model or a collection holds. */
import { Command } from 'commander';
import { examples, outputOf, withOutput } from '../options.js';

export function inspectCommand(): Command {
  const command = new Command('inspect')
    .description(
      'Show what a run folder, a model folder, an index, a BEIR collection or one of their files holds.',
    )
    .argument(
      '<path>',
      'run folder, model folder, index folder, BEIR folder, .safetensors, .gguf or state file',
    );
  withOutput(command);
  examples(command, [
    { command: 'inspect runs/first', does: 'Show the steps, latest metrics and checkpoints of a run.' },
    {
      command: 'inspect runs/first/checkpoints/step-120/model',
      does: 'Show the architecture and parameters of a checkpoint.',
    },
    {
      command: 'inspect data/scifact --json',
      does: 'Show the documents, queries and judgements of a collection, as JSON.',
    },
  ]);
  return command.action(async (path: string) => {
    const { inspect } = await import('../inspect/index.js');
    const { value, text } = await inspect(path);
    outputOf(command).result(value, text);
  });
}
