/** `search-r3 embed`: texts to vectors. */
import { Command, Option } from 'commander';
import { untilStopped } from '../interrupt.js';
import { examples, outputOf, withConfig, withOutput } from '../options.js';
import { embeddingOptions, loadUse, withEmbedding, withModel } from '../using.js';

interface Flags {
  file?: string;
  role: 'query' | 'document';
  reasoning?: boolean;
}

export function embedCommand(): Command {
  const command = new Command('embed')
    .description('Embed texts: one JSON object a line, in the order of the texts.')
    .argument('[text...]', 'texts; without any and without --file, the lines of stdin')
    .addOption(new Option('-f, --file <path>', 'JSONL with text, and perhaps id (or _id) and title'))
    .addOption(
      new Option('--role <role>', 'what the texts are').choices(['query', 'document']).default('query'),
    )
    .addOption(new Option('--reasoning', 'let the model reason before it embeds; for queries'));
  withConfig(command);
  withModel(command);
  withEmbedding(command, 'texts');
  withOutput(command);
  examples(command, [
    {
      command: 'embed --model runs/scifact/model --reasoning "does vitamin D prevent colds"',
      does: 'The vector of a query, with the reasoning it was made after.',
    },
    {
      command: 'embed --model runs/scifact/model --role document --file data/scifact/corpus.jsonl --strict',
      does: 'Vectors of documents, with their ids; one that is too long is refused.',
    },
    { command: 'embed --model runs/scifact/model < queries.txt', does: 'One vector a line of a text file.' },
  ]);
  return command.action(async (args: string[]) => {
    const { file, role, reasoning = false } = command.opts<Flags>();
    const output = outputOf(command);
    const { embedSettings, modelFolder, partProgress } = await import('../../pipeline/index.js');
    const settings = await loadUse(command, embedSettings);
    const model = modelFolder(settings);
    const { noteOfWords, readTexts } = await import('../texts.js');
    const texts = await readTexts(args, file);
    noteOfWords(args, output);
    const { loadRetriever } = await import('../../api/index.js');
    const retriever = await loadRetriever(model, { thread: 'current' });
    const progress = await output.progress();
    const report = partProgress(progress);
    try {
      const embedded = await untilStopped(output, (signal) =>
        retriever.embed(
          texts.map(({ text }) => text),
          {
            role,
            reasoning,
            ...embeddingOptions(settings.embed),
            signal,
            nameOf: (index) => texts[index]?.source ?? '',
            onProgress: (done, total) => report({ part: 'texts', done, total }),
          },
        ),
      ).finally(() => progress.close());
      const rows = embedded.map(({ vector, ...rest }, i) => ({
        ...(texts[i]?.id !== undefined && { id: texts[i].id }),
        ...rest,
        // Nine digits give every float32 back.
        vector: Array.from(vector, (value) => Number(value.toPrecision(9))),
      }));
      output.result(rows, () => rows.map((row) => JSON.stringify(row)).join('\n'));
    } finally {
      await retriever.dispose();
    }
  });
}
