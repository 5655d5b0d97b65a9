/** `search-r3 index`: embeds the documents of a collection into a searchable index. */
import { join } from 'node:path';
import { Command, Option } from 'commander';
import type { IndexSummary, UpdateSummary } from '../../api/index.js';
import { InputError } from '../../run/errors.js';
import { announce, withEstimate } from '../estimate.js';
import { untilStopped } from '../interrupt.js';
import { configFlag, examples, outputOf, withConfig, withData, withOutput } from '../options.js';
import type { Output } from '../output.js';
import {
  dimensionsOption,
  embeddingOptions,
  loadUse,
  promptOptions,
  withDimensions,
  withEmbedding,
  withModel,
} from '../using.js';

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
  command.addOption(
    new Option(
      '--update',
      'embed only the documents that are new or changed since the index was made',
    ).conflicts('overwrite'),
  );
  command.addOption(
    new Option('--prune', 'with --update: delete documents that are no longer in the collection'),
  );
  configFlag(command, '--ann', 'index.ann');
  withEmbedding(command);
  withDimensions(command);
  withEstimate(command);
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
    {
      command: 'index --config examples/scifact.yaml --data data/scifact --update --prune',
      does: 'Bring the index up to date with the corpus; creates it if there is none.',
    },
  ]);
  return command.action(async () => {
    const { indexFolder, modelFolder, partProgress } = await import('../../pipeline/index.js');
    const settings = await loadUse(command, await loadSchema());
    const { overwrite = false, update = false, prune = false } = command.opts<Flags>();
    if (prune && !update) throw new InputError({ source: '--prune', expected: '--update', found: 'nothing' });
    const out = indexFolder(settings, '--out');
    // Check before the model is loaded.
    const { assertReplaceable, exists } = await import('../../run/files.js');
    const { INDEX_FOLDER, MANIFEST_FILE } = await import('../../vectors/manifest.js');
    const updates = update && (await exists(join(out, MANIFEST_FILE)));
    if (updates) await refuseNewGraph(out, settings.index.ann);
    else await assertReplaceable(out, { replace: overwrite, kind: INDEX_FOLDER }, '--overwrite');
    const output = outputOf(command);
    await announce(command, 'index', settings, output);
    const { loadRetriever } = await import('../../api/index.js');
    const retriever = await loadRetriever(modelFolder(settings), {
      thread: 'current',
      ...promptOptions(settings.embed),
      onNote: (text) => output.note(text),
    });
    const progress = await output.progress();
    const report = partProgress(progress);
    try {
      const how = {
        ...embeddingOptions(settings.embed),
        onProgress: (done: number, total: number) => report({ part: 'documents', done, total }),
      };
      const work = async (signal: AbortSignal): Promise<IndexSummary | UpdateSummary> => {
        const { ann } = settings.index;
        if (!updates) {
          const dimensions = dimensionsOption(settings.embed);
          return retriever.index(settings.data, { out, overwrite, ann, ...dimensions, ...how, signal });
        }
        const index = await retriever.open(out);
        return index.update(settings.data, { prune, ...how, signal });
      };
      const summary = await untilStopped(output, work).finally(() => progress.close());
      await warnOfCuts(summary, output);
      output.result({ index: out, ...summary }, () => `${out}: ${describe(summary)}`);
    } finally {
      await retriever.dispose();
    }
  });
}

/** @throws InputError if an index should get a graph that it was made without. */
async function refuseNewGraph(folder: string, wanted: boolean): Promise<void> {
  const { readManifest } = await import('../../vectors/manifest.js');
  if (!wanted || (await readManifest(folder)).ann) return;
  throw new InputError({
    source: folder,
    expected: 'an index with a graph, as --ann or index.ann asks',
    found: 'one without',
    remedy: 'Create it again with --overwrite.',
  });
}

interface Flags {
  overwrite?: boolean;
  update?: boolean;
  prune?: boolean;
}

function describe(summary: IndexSummary | UpdateSummary): string {
  const { documents, truncated } = summary;
  if ('dimension' in summary) {
    return `${documents} documents, dimension ${summary.dimension}, ${truncated} cut to fit`;
  }
  const { added, changed, unchanged, removed, kept } = summary;
  const left = kept === 0 ? '' : `, ${kept} not in the collection (--prune deletes them)`;
  return `${documents} documents: ${added} added, ${changed} changed, ${unchanged} unchanged, ${removed} deleted${left}; ${truncated} cut to fit`;
}

/** Share of cut documents from which the command warns. */
const MANY_CUT = 0.1;

async function warnOfCuts(summary: IndexSummary | UpdateSummary, output: Output): Promise<void> {
  const { truncated, maxLength, maxPositions } = summary;
  const documents = 'dimension' in summary ? summary.documents : summary.added + summary.changed;
  if (truncated === 0 || truncated < MANY_CUT * documents) return;
  const { describeCuts } = await import('../cuts.js');
  output.warn(
    describeCuts({ truncated, count: documents, what: 'documents', maxLength, room: maxPositions }),
  );
}
