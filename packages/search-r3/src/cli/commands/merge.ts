/** `search-r3 merge`: an adapter and its base as one model. */
import { Command, Option } from 'commander';
import { examples, outputOf, withOutput } from '../options.js';

export function mergeCommand(): Command {
  const command = new Command('merge')
    .description('Merge an adapter (LoRA) into its base: an ordinary model folder that computes the same.')
    .argument('<adapter>', 'adapter folder, trained here or with PEFT')
    .requiredOption('-o, --out <folder>', 'folder of the merged model')
    .option(
      '-b, --base <path>',
      'base model: a folder or a GGUF file (default: the one that the adapter names)',
    )
    .addOption(
      new Option('--dtype <name>', 'how weights are stored').choices(['f32', 'bf16', 'f16']).default('f32'),
    )
    .option('--overwrite', 'replace a model in the folder');
  withOutput(command);
  examples(command, [
    { command: 'merge runs/lora/model --out runs/merged', does: 'Merge the adapter of a run.' },
    {
      command: 'merge adapters/mine --base models/qwen --out models/mine --dtype bf16',
      does: 'Merge an adapter that names its base on a hub, with a copy of that base.',
    },
  ]);
  return command.action(async (adapter: string) => {
    const {
      out,
      base,
      dtype,
      overwrite = false,
    } = command.opts<{
      out: string;
      base?: string;
      dtype: 'f32' | 'bf16' | 'f16';
      overwrite?: boolean;
    }>();
    const { loadMerged, saveCheckpoint } = await import('../../checkpoint/index.js');
    const output = outputOf(command);
    const merged = await loadMerged(adapter, base);
    for (const note of merged.notes ?? []) output.note(`${adapter}: ${note}`);
    await saveCheckpoint(out, merged, { dtype, overwrite });
    output.result({ model: out }, () => `model: ${out}`);
  });
}
