/** `search-r3 embed`: turns texts into vectors. */
import { Command, Option } from 'commander';
import type { Embedding } from '../../embed/index.js';
import { InputError } from '../../run/errors.js';
import { untilStopped } from '../interrupt.js';
import { examples, outputOf, withConfig, withOutput } from '../options.js';
import {
  dimensionsOption,
  embeddingOptions,
  loadUse,
  promptOptions,
  reasoningOptions,
  withDimensions,
  withModel,
  withReasonedEmbedding,
  withSettingsNamed,
} from '../using.js';

const loadSchema = async () => (await import('../../pipeline/config.js')).embedSettings;

interface Flags {
  file?: string;
  role: 'query' | 'document';
  reasoning?: boolean;
}

export function embedCommand(): Command {
  const command = new Command('embed')
    .description('Embed texts. Writes one JSON object per line, in the order of the texts.')
    .argument('[text...]', 'texts; with neither texts nor --file, the non-blank lines of stdin')
    .addOption(
      new Option('-f, --file <path>', 'JSONL with text and optional id (or _id) and title; - for stdin'),
    )
    .addOption(new Option('--role <role>', 'kind of text').choices(['query', 'document']).default('query'))
    .addOption(new Option('--reasoning', 'let the model reason before it embeds (queries only)'));
  withConfig(command, loadSchema);
  withModel(command);
  withReasonedEmbedding(command);
  withDimensions(command);
  withOutput(command);
  examples(command, [
    {
      command: 'embed --model runs/scifact/model --reasoning "does vitamin D prevent colds"',
      does: 'Embed a query after reasoning, and show the reasoning.',
    },
    {
      command: 'embed --model runs/scifact/model --role document --file data/scifact/corpus.jsonl --strict',
      does: 'Embed documents with their ids; fail if one is too long.',
    },
    { command: 'embed --model runs/scifact/model < queries.txt', does: 'Embed each line of a text file.' },
    {
      command: 'embed --model runs/scifact/model --file - < data/scifact/queries.jsonl',
      does: 'Embed rows of JSONL from stdin, with their ids.',
    },
  ]);
  return command.action(async (args: string[]) => {
    const { file, role, reasoning = false } = command.opts<Flags>();
    const output = outputOf(command);
    const { modelFolder, partProgress } = await import('../../pipeline/index.js');
    if (reasoning && role === 'document') {
      const remedy = 'The model reasons only about queries.';
      throw new InputError({
        source: '--reasoning',
        expected: '--role query',
        found: '--role document',
        remedy,
      });
    }
    const settings = await loadUse(command, await loadSchema());
    const path = modelFolder(settings);
    const { readTexts } = await import('../texts.js');
    const sourced = await readTexts(args, file, output);
    const texts = sourced.map(({ text }) => text);
    const nameOf = (index: number) => sourced[index]?.source ?? '';
    const { refuseBlank } = await import('../../api/local-retriever.js');
    if (role === 'query') refuseBlank(texts, nameOf);
    const { Embedder } = await import('../../embed/index.js');
    const { Model } = await import('../../model/index.js');
    const progress = await output.progress();
    const report = partProgress(progress);
    const loaded = await untilStopped(output, (signal) =>
      Model.load(path, {
        ...promptOptions(settings.embed),
        ...{ reasoning, signal },
        onNote: (text) => output.note(text),
        onProgress: (done, total) => report({ part: 'quantised layers', done, total }),
      }),
    );
    const embedder = new Embedder(loaded);
    const rows = await output.rows();
    const how = {
      ...{ role, reasoning },
      ...embeddingOptions(settings.embed),
      ...dimensionsOption(settings.embed),
      ...(reasoning && reasoningOptions(settings)),
    };
    let truncated = 0;
    try {
      const work = async (signal: AbortSignal) => {
        const pieces = embedder.stream(texts, {
          ...how,
          signal,
          nameOf,
          onProgress: (done, total) => report({ part: 'texts', done, total }),
        });
        let at = 0;
        for await (const piece of pieces) {
          for (const embedding of piece) {
            if (embedding.truncated) truncated++;
            await rows.write(rowOf(sourced[at++]?.id, embedding));
          }
        }
      };
      await withSettingsNamed(command, () => untilStopped(output, work)).finally(() => progress.close());
      if (truncated > 0) {
        const { describeCuts } = await import('../cuts.js');
        const { maxTokens: maxLength, room } = await embedder.longestPrompt(how);
        output.note(describeCuts({ truncated, count: texts.length, what: 'texts', maxLength, room }));
      }
    } finally {
      rows.end();
      await loaded.dispose();
    }
  });
}

const rowOf = (id: string | undefined, { vector, ...rest }: Embedding) => ({
  ...(id !== undefined && { id }),
  ...rest,
  // Nine digits identify every float32.
  vector: Array.from(vector, (value) => Number(value.toPrecision(9))),
});
