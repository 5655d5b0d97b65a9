/** `search-r3 index`: the documents of a collection as vectors, ready to be searched. */
import { Command, Option } from 'commander';
import { untilStopped } from '../interrupt.js';
import { examples, outputOf, parseCount, withOutput } from '../options.js';

interface Flags {
  model: string;
  data: string;
  out: string;
  overwrite?: boolean;
  strict?: boolean;
  maxLength: number;
}

export function indexCommand(): Command {
  const command = new Command('index')
    .description('Embed the documents of a collection and write them as an index, whole or not at all.')
    .requiredOption('-m, --model <folder>', 'model of sft, rl or train; the index remembers it')
    .requiredOption('-d, --data <folder>', 'BEIR folder, or atlas for the built-in world')
    .requiredOption('-o, --out <folder>', 'folder of the index')
    .addOption(new Option('--overwrite', 'replace the index in the folder'))
    .addOption(new Option('--strict', 'refuse documents that do not fit instead of cutting them'))
    .addOption(new Option('--max-length <tokens>', 'longest prompt').argParser(parseCount).default(512));
  withOutput(command);
  examples(command, [
    {
      command: 'index --model runs/scifact/model --data data/scifact --out runs/scifact/index',
      does: 'The index of a corpus.',
    },
  ]);
  return command.action(async () => {
    const flags = command.opts<Flags>();
    const output = outputOf(command);
    const { indexCollection } = await import('../../pipeline/index.js');
    const progress = await output.progress();
    const summary = await untilStopped(output, (signal) =>
      indexCollection({ ...flags, progress, signal }),
    ).finally(() => progress.close());
    output.result(
      summary,
      () =>
        `${summary.index}: ${summary.documents} documents, dimension ${summary.dimension}, ${summary.truncated} cut to fit`,
    );
  });
}
