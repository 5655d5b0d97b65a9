/** `search-r3 search`: finds the documents nearest to a query, and shows the reasoning that was embedded. */
import { Command, Option } from 'commander';
import type { FoundDocuments } from '../../api/index.js';
import type { Filter } from '../../vectors/filter.js';
import { untilStopped } from '../interrupt.js';
import { configFlag, examples, outputOf, withConfig, withOutput } from '../options.js';
import {
  embeddingOptions,
  loadUse,
  promptOptions,
  reasoningOptions,
  withModel,
  withReasonedEmbedding,
  withSettingsNamed,
} from '../using.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).searchSettings;

/** Characters shown of a document. */
const SNIPPET = 160;

export function searchCommand(): Command {
  const command = new Command('search')
    .description('Search an index. Shows the reasoning that was embedded and the documents found.')
    .argument(
      '[query...]',
      'queries; each argument is one query, so quote them; with neither queries nor --file, the non-blank lines of stdin',
    )
    .addOption(
      new Option('-f, --file <path>', 'queries as JSONL with text and optional id (or _id); - for stdin'),
    );
  withConfig(command, loadSchema);
  withModel(command);
  configFlag(command, '-i, --index <folder>', 'index.folder');
  configFlag(command, '--reasoning', 'search.reasoning');
  configFlag(command, '--no-reasoning', 'search.reasoning');
  configFlag(command, '-k <n>', 'search.k');
  command.addOption(
    new Option(
      '--filter <json>',
      'search only documents whose fields match: values by field, or $eq, $ne, $in, $nin, $gt, $gte, $lt, $lte, $exists, joined by $and, $or, $not',
    ),
  );
  withReasonedEmbedding(command);
  withOutput(command);
  examples(command, [
    {
      command: 'search --model runs/scifact/model --index runs/scifact/index "does vitamin D prevent colds"',
      does: 'Find the ten best documents, after reasoning.',
    },
    {
      command: 'search --config examples/scifact.yaml "does vitamin D prevent colds"',
      does: 'The same, with the model and the index in the run folder of the config.',
    },
    {
      command:
        'search -m runs/scifact/model -i runs/scifact/index --no-reasoning -k 3 --json "aspirin" "statins"',
      does: 'Search for two queries without reasoning, as JSON.',
    },
    {
      command: 'search -m runs/scifact/model -i runs/scifact/index --file data/scifact/queries.jsonl --json',
      does: 'Search for the queries of a file, with their ids.',
    },
    {
      command: `search --config examples/scifact.yaml --filter '{"year":{"$gte":2020}}' "vitamin D"`,
      does: 'Search the documents that have a field year of 2020 or later.',
    },
  ]);
  return command.action(async (args: string[]) => {
    const { indexFolder, modelFolder, partProgress } = await import('../../pipeline/index.js');
    const settings = await loadUse(command, await loadSchema());
    const { k, reasoning } = settings.search;
    const folder = indexFolder(settings, '--index');
    const model = modelFolder(settings);
    const { file, filter: json } = command.opts<{ file?: string; filter?: string }>();
    const filter = json === undefined ? undefined : await readFilter(json);
    const { assertIndex } = await import('../index-folder.js');
    await assertIndex(folder);
    const output = outputOf(command);
    const { readTexts } = await import('../texts.js');
    const queries = await readTexts(args, file, output);
    const { loadRetriever } = await import('../../api/index.js');
    const retriever = await loadRetriever(model, {
      thread: 'current',
      ...promptOptions(settings.embed),
      reasoning: reasoning === true,
      onNote: (text) => output.note(text),
    });
    try {
      const index = await retriever.open(folder);
      // A single query is answered too fast for progress to be read.
      const progress = queries.length > 1 ? await output.progress() : undefined;
      const report = progress && partProgress(progress);
      const work = (signal: AbortSignal) =>
        index.search(
          queries.map(({ text }) => text),
          {
            k,
            ...(reasoning !== undefined && { reasoning }),
            ...(filter && { filter }),
            ...embeddingOptions(settings.embed),
            ...(reasoning !== false && reasoningOptions(settings)),
            signal,
            ...(report && {
              onProgress: (done: number, total: number) => report({ part: 'queries', done, total }),
            }),
          },
        );
      const found = await withSettingsNamed(command, () => untilStopped(output, work)).finally(() =>
        progress?.close(),
      );
      const { wholeCharacters } = await import('../../pipeline/report/whole-characters.js');
      const results = found.map((one, i) => withId(queries[i]?.id, one));
      output.result(results, () =>
        results
          .map((one) => describe({ ...one, reasoning: one.reasoning && wholeCharacters(one.reasoning) }))
          .join('\n\n'),
      );
    } finally {
      await retriever.dispose();
    }
  });
}

/** @throws InputError if the text is no JSON or no filter. */
async function readFilter(json: string): Promise<Filter> {
  const [{ parseJson }, { validate }, { filterSchema }] = await Promise.all([
    import('../../run/files.js'),
    import('../../run/validate.js'),
    import('../../vectors/filter.js'),
  ]);
  return validate(filterSchema, parseJson(json, { source: '--filter' }), '--filter');
}

/** The documents found for a query, with the query's id if it has one. */
type Found = FoundDocuments & { id?: string };

const withId = (id: string | undefined, found: FoundDocuments): Found =>
  id === undefined ? found : { id, ...found };

function describe({ id, query, truncated, reasoning, completed, results }: Found): string {
  const cut = truncated ? ' (cut to fit)' : '';
  const unfinished = completed === false ? ' (cut off; embed token appended)' : '';
  const width = String(results.length).length;
  return [
    `query${id === undefined ? '' : ` ${id}`}: ${query}${cut}`,
    ...(reasoning === null ? [] : [`reasoning: ${oneLine(reasoning)}${unfinished}`]),
    ...results.flatMap(({ rank, id, score, title, text }) => [
      `${String(rank).padStart(width)}. ${score.toFixed(4)}  ${id}${title === undefined ? '' : `  ${oneLine(title)}`}`,
      `${' '.repeat(width + 2)}${snippet(text)}`,
    ]),
  ].join('\n');
}

const oneLine = (text: string) => text.replaceAll(/\s+/g, ' ').trim();

/** The beginning of a text, ending at a word. */
function snippet(text: string): string {
  const line = oneLine(text);
  return line.length <= SNIPPET ? line : `${line.slice(0, SNIPPET).replace(/\s\S*$/, '')} ...`;
}
