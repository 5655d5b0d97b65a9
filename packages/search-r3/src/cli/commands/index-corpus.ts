/** `search-r3 index`: the documents of a collection as vectors, ready to be searched. */
import { Command, Option } from 'commander';
import type { IndexSummary } from '../../api/index.js';
import { untilStopped } from '../interrupt.js';
import {
  type EmbeddingFlags,
  embeddingOptions,
  examples,
  outputOf,
  withEmbedding,
  withOutput,
} from '../options.js';
import type { Output } from '../output.js';

interface Flags extends EmbeddingFlags {
  model: string;
  data: string;
  out: string;
  overwrite?: boolean;
  ann?: boolean;
}

export function indexCommand(): Command {
  const command = new Command('index')
    .description('Embed the documents of a collection and write them as an index, whole or not at all.')
    .requiredOption('-m, --model <folder>', 'model of sft, rl or train; the index remembers it')
    .requiredOption('-d, --data <folder>', 'BEIR folder, or atlas for the built-in world')
    .requiredOption('-o, --out <folder>', 'folder of the index')
    .addOption(new Option('--overwrite', 'replace the index in the folder'))
    .addOption(new Option('--ann', 'a proximity graph too: faster, approximate searches of large corpora'));
  withEmbedding(command, 'documents');
  withOutput(command);
  examples(command, [
    {
      command: 'index --model runs/scifact/model --data data/scifact --out runs/scifact/index',
      does: 'The index of a corpus.',
    },
  ]);
  return command.action(async () => {
    const { model, data, out, overwrite = false, ann = false, ...how } = command.opts<Flags>();
    const output = outputOf(command);
    const { loadRetriever } = await import('../../api/index.js');
    const { partProgress } = await import('../../pipeline/index.js');
    const retriever = await loadRetriever(model, { thread: 'current' });
    const progress = await output.progress();
    const report = partProgress(progress);
    try {
      const summary = await untilStopped(output, (signal) =>
        retriever.index(data, {
          out,
          overwrite,
          ann,
          ...embeddingOptions(how),
          signal,
          onProgress: (done, total) => report({ part: 'documents', done, total }),
        }),
      ).finally(() => progress.close());
      warnOfCuts(summary, output);
      output.result(
        summary,
        () =>
          `${summary.index}: ${summary.documents} documents, dimension ${summary.dimension}, ${summary.truncated} cut to fit`,
      );
    } finally {
      await retriever.dispose();
    }
  });
}

/** Share of the documents from which on cutting them is no exception. */
const MANY = 0.1;

function warnOfCuts({ truncated, documents, maxLength, maxPositions }: IndexSummary, output: Output): void {
  if (truncated === 0 || truncated < MANY * documents) return;
  const remedy =
    maxLength < maxPositions
      ? `--max-length takes up to the ${maxPositions} of the model`
      : 'the model takes no more';
  output.warn(`${truncated} of ${documents} documents were cut to ${maxLength} tokens; ${remedy}`);
}
