/** `search-r3 search`: the documents nearest to a query, with the reasoning that was embedded. */
import { Command, Option } from 'commander';
import type { FoundDocuments } from '../../api/index.js';
import { untilStopped } from '../interrupt.js';
import {
  type EmbeddingFlags,
  embeddingOptions,
  examples,
  outputOf,
  parseCount,
  withEmbedding,
  withOutput,
} from '../options.js';

interface Flags extends EmbeddingFlags {
  model: string;
  index: string;
  reasoning: boolean;
  k: number;
}

/** Characters of a document that are shown. */
const SNIPPET = 160;

export function searchCommand(): Command {
  const command = new Command('search')
    .description('Search an index; shows the reasoning that was embedded and the documents found.')
    .argument('<query...>', 'queries, each in quotes: every argument is a query of its own')
    .requiredOption('-m, --model <folder>', 'the model that made the index; another one is refused')
    .requiredOption('-i, --index <folder>', 'folder of the index')
    .addOption(new Option('--reasoning', 'let the model reason before it embeds').default(true))
    .addOption(new Option('--no-reasoning', 'embed the query at once'))
    .addOption(new Option('-k <n>', 'documents per query').argParser(parseCount).default(10));
  withEmbedding(command, 'queries');
  withOutput(command);
  examples(command, [
    {
      command: 'search --model runs/scifact/model --index runs/scifact/index "does vitamin D prevent colds"',
      does: 'The ten best documents, after reasoning.',
    },
    {
      command:
        'search -m runs/scifact/model -i runs/scifact/index --no-reasoning -k 3 --json "aspirin" "statins"',
      does: 'Two queries, embedded at once, as JSON.',
    },
  ]);
  return command.action(async (queries: string[]) => {
    const { model, index: folder, k, reasoning, ...how } = command.opts<Flags>();
    const output = outputOf(command);
    const { noteOfWords } = await import('../texts.js');
    noteOfWords(queries, output);
    const { loadRetriever } = await import('../../api/index.js');
    const retriever = await loadRetriever(model, { thread: 'current' });
    try {
      const index = await retriever.open(folder);
      const found = await untilStopped(output, (signal) =>
        index.search(queries, { k, reasoning, ...embeddingOptions(how), signal }),
      );
      const { wholeCharacters } = await import('../../pipeline/whole-characters.js');
      const shown = found.map((one) => ({
        ...one,
        reasoning: one.reasoning && wholeCharacters(one.reasoning),
      }));
      output.result(found, () => shown.map(describe).join('\n\n'));
    } finally {
      await retriever.dispose();
    }
  });
}

function describe({ query, truncated, reasoning, completed, results }: FoundDocuments): string {
  const cut = truncated ? ' (cut to fit)' : '';
  const unfinished = completed === false ? ' (cut off; the embed token was put behind it)' : '';
  const width = String(results.length).length;
  return [
    `query: ${query}${cut}`,
    ...(reasoning === null ? [] : [`reasoning: ${oneLine(reasoning)}${unfinished}`]),
    ...results.flatMap(({ rank, id, score, title, text }) => [
      `${String(rank).padStart(width)}. ${score.toFixed(4)}  ${id}${title === undefined ? '' : `  ${oneLine(title)}`}`,
      `${' '.repeat(width + 2)}${snippet(text)}`,
    ]),
  ].join('\n');
}

const oneLine = (text: string) => text.replaceAll(/\s+/g, ' ').trim();

/** The beginning of a text, up to the end of a word. */
function snippet(text: string): string {
  const line = oneLine(text);
  return line.length <= SNIPPET ? line : `${line.slice(0, SNIPPET).replace(/\s\S*$/, '')} ...`;
}
