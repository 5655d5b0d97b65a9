/** `search-r3 index`: embeds the documents of a collection into a searchable index. */
import { Command, Option } from 'commander';
import type { IndexSummary } from '../../api/index.js';
import { untilStopped } from '../interrupt.js';
import { configFlag, examples, outputOf, withConfig, withData, withOutput } from '../options.js';
import type { Output } from '../output.js';
import { embeddingOptions, loadUse, withEmbedding, withModel } from '../using.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).indexSettings;

export function indexCommand(): Command {
  const command = new Command('index').description(
    'Embed the documents of a collection and write an index, completely or not at all.',
  );
  withConfig(command, loadSchema);
  withModel(command);
  withData(command);
  configFlag(command, '-o, --out <folder>', 'index.folder');
  command.addOption(new Option('--overwrite', 'replace the index in the folder'));
  configFlag(command, '--ann', 'index.ann');
  withEmbedding(command);
  withOutput(command);
  examples(command, [
    {
      command: 'index --model runs/scifact/model --data data/scifact --out runs/scifact/index',
      does: 'Index a corpus.',
    },
    {
      command: 'index --config examples/scifact.yaml --data data/scifact',
      does: 'The same; the config names the run folder, and so the model and the index folder.',
    },
  ]);
  return command.action(async () => {
    const { indexFolder, modelFolder, partProgress } = await import('../../pipeline/index.js');
    const settings = await loadUse(command, await loadSchema());
    const { overwrite = false } = command.opts<{ overwrite?: boolean }>();
    const out = indexFolder(settings, '--out');
    // Check before the model is loaded.
    const { assertReplaceable } = await import('../../run/files.js');
    const { INDEX_FOLDER } = await import('../../vectors/manifest.js');
    await assertReplaceable(out, { replace: overwrite, kind: INDEX_FOLDER }, '--overwrite');
    const output = outputOf(command);
    const { loadRetriever } = await import('../../api/index.js');
    const retriever = await loadRetriever(modelFolder(settings), {
      thread: 'current',
      onNote: (text) => output.note(text),
    });
    const progress = await output.progress();
    const report = partProgress(progress);
    try {
      const summary = await untilStopped(output, (signal) =>
        retriever.index(settings.data, {
          out,
          overwrite,
          ann: settings.index.ann,
          ...embeddingOptions(settings.embed),
          signal,
          onProgress: (done, total) => report({ part: 'documents', done, total }),
        }),
      ).finally(() => progress.close());
      await warnOfCuts(summary, output);
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

/** Share of cut documents from which the command warns. */
const MANY_CUT = 0.1;

async function warnOfCuts(
  { truncated, documents, maxLength, maxPositions }: IndexSummary,
  output: Output,
): Promise<void> {
  if (truncated === 0 || truncated < MANY_CUT * documents) return;
  const { describeCuts } = await import('../cuts.js');
  output.warn(
    describeCuts({ truncated, count: documents, what: 'documents', maxLength, room: maxPositions }),
  );
}
