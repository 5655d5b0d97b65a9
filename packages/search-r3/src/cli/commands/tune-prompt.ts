/** `search-r3 tune-prompt`: finds prompts for a base model, without training it. */
import { Command, Option } from 'commander';
import type { PromptScore } from '../../prompt-tuning/index.js';
import { untilStopped } from '../interrupt.js';
import { examples, outputOf, parseCount, withOutput } from '../options.js';

interface Flags {
  base: string;
  data: string;
  out?: string;
  split: string;
  queries: number;
  documents: number;
  maxLength: number;
  seed: number;
}

export function tunePromptCommand(): Command {
  const count = (flags: string, text: string, value: number) =>
    new Option(flags, text).argParser(parseCount).default(value);
  const command = new Command('tune-prompt')
    .description(
      'Score prompts for a base model on training data, without training it, and write the best to a file for train.',
    )
    .requiredOption('-b, --base <model>', 'base model: a Hugging Face folder or a GGUF file')
    .requiredOption('-d, --data <folder>', 'BEIR folder')
    .option('-o, --out <file>', 'YAML file for the best prompts')
    .option('--split <name>', 'split whose queries are used', 'train')
    .addOption(count('--queries <n>', 'judged queries', 150))
    .addOption(count('--documents <n>', 'documents to rank', 600))
    .addOption(count('--max-length <n>', 'longest prompt in tokens', 160))
    .addOption(new Option('--seed <n>', 'draws queries and documents').argParser(Number).default(0));
  withOutput(command);
  examples(command, [
    {
      command: 'tune-prompt --base models/smollm2 --data data/scifact --out prompts.yaml',
      does: 'Write the prompts with which the base already finds the most.',
    },
    {
      command: 'train --base models/smollm2 --data data/scifact --prompt-file prompts.yaml --out runs/tuned',
      does: 'Start training from there.',
    },
  ]);
  return command.action(async () => {
    const { base, data, out, split, ...sizes } = command.opts<Flags>();
    const output = outputOf(command);
    const { loadBeir } = await import('../../dataset/index.js');
    const { tunePrompt } = await import('../../prompt-tuning/index.js');
    const collection = await loadBeir(data, { splits: [split] });
    const scores = await untilStopped(output, (signal) =>
      tunePrompt(base, collection, collection.qrels.get(split) ?? new Map(), {
        ...sizes,
        signal,
        onScore: (score) => output.note(line(score)),
      }),
    );
    const [best] = scores;
    if (out !== undefined && best !== undefined) {
      const { writePrompts } = await import('../prompt-file.js');
      await writePrompts(
        out,
        best.overrides,
        `${best.name}: nDCG@10 ${best.raw.toFixed(3)} untrained, on ${data}.`,
      );
    }
    output.result({ scores, ...(out !== undefined && { out }) }, () =>
      [
        `${'prompts'.padEnd(WIDTH)}     raw  centred  whitened   (nDCG@10)`,
        ...scores.map(line),
        ...(out === undefined ? [] : ['', `written: ${out} (${best?.name})`]),
      ].join('\n'),
    );
  });
}

const WIDTH = 24;

const line = ({ name, raw, centred, whitened }: PromptScore): string =>
  `${name.padEnd(WIDTH)}  ${[raw, centred, whitened].map((value) => value.toFixed(3).padStart(6)).join('   ')}`;
