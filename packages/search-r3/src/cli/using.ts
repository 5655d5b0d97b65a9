/** Options and settings of the commands that use a model: which model, and how it embeds. Loads nothing heavy. */
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { z } from 'zod';
import type { Settings } from '../pipeline/index.js';
import { InputError } from '../run/errors.js';
import { configFlag } from './options.js';

/** Adds `--model`. */
export function withModel(command: Command): Command {
  return configFlag(command, '-m, --model <folder>', 'model');
}

/** Adds `--prompts` and `--precision`. */
export function withPrompts(command: Command): Command {
  configFlag(command, '--prompts <name|file>', 'embed.prompts');
  return configFlag(command, '--precision <name>', 'embed.precision');
}

/** Adds `--prompts`, `--precision`, `--strict` and `--max-length`. */
export function withEmbedding(command: Command): Command {
  withPrompts(command);
  configFlag(command, '--strict', 'embed.strict');
  return configFlag(command, '--max-length <tokens>', 'embed.maxLength');
}

/**
 * Adds the options of `withEmbedding` and, for texts that the model may reason about, `--max-new-tokens`, `--samples`,
 * `--temperature`, `--fusion` and `--direct-weight`.
 */
export function withReasonedEmbedding(command: Command): Command {
  withEmbedding(command);
  configFlag(command, '--max-new-tokens <n>', 'embed.maxNewTokens');
  configFlag(command, '--samples <n>', 'embed.samples');
  configFlag(command, '--temperature <t>', 'embed.temperature');
  configFlag(command, '--fusion <kind>', 'embed.fusion');
  return configFlag(command, '--direct-weight <w>', 'embed.directWeight');
}

/** Adds `--dimensions`. */
export const withDimensions = (command: Command): Command =>
  configFlag(command, '--dimensions <n>', 'embed.dimensions');

/**
 * Loads the settings of a command that uses a model. `--model` wins. Otherwise the config names a run, either through
 * `out` or by being in the run's own folder, and the model of that run is used. The setting `model` of such a config is
 * ignored: it is the model that stage 2 started from. With `--model`, `out` is dropped, because the index of the run
 * belongs to another model.
 *
 * @throws InputError
 */
export async function loadUse<T extends Settings>(command: Command, schema: z.ZodType<T>): Promise<T> {
  const { loadConfig } = await import('./config.js');
  const settings = await loadConfig(command, schema);
  const { config, set = [] } = command.opts<{ config?: string; set?: string[] }>();
  const isNamed =
    command.getOptionValueSource('model') === 'cli' || set.some((text) => text.startsWith('model='));
  const out = settings.out ?? (config === undefined ? undefined : await runOfConfig(config));
  if (out !== undefined && !isNamed) return { ...settings, out, model: undefined };
  await refuseHubName(settings.model);
  return { ...settings, out: undefined };
}

/** @throws InputError if a model is not a folder here but looks like a name on Hugging Face. */
export async function refuseHubName(model: string | undefined): Promise<void> {
  if (model === undefined || !/^\w[\w.-]*\/[\w.-]+$/.test(model)) return;
  const { exists } = await import('../run/files.js');
  if ((await exists(model)) || (await exists(dirname(model)))) return;
  throw new InputError({
    source: model,
    expected: 'a model folder',
    found: 'nothing there',
    remedy: `search-r3 downloads nothing. If this is a model on Hugging Face: git clone https://huggingface.co/${model} (with Git LFS).`,
  });
}

/** The run folder that this config belongs to, if any. */
async function runOfConfig(path: string): Promise<string | undefined> {
  const { isRunConfig } = await import('../run/run-folder.js');
  const { readText } = await import('../run/files.js');
  return isRunConfig(await readText(path)) ? dirname(path) : undefined;
}

/**
 * Runs `work`. If it fails because of an embedding option, the error names the setting and the flag that gave it.
 * @param sectionOf the section of the setting with this name. Default `embed`.
 */
export async function withSettingsNamed<T>(
  command: Command,
  work: () => Promise<T>,
  sectionOf = (_name: string): string => 'embed',
): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const { asGiven } = await import('./config.js');
    throw asGiven(command, error, 'embed options', (name) => `${sectionOf(name)}.${name}`);
  }
}

/** Settings of `embed` as options of the library. The model decides what is not set. */
export const embeddingOptions = ({ strict, maxLength, maxNewTokens }: Settings['embed']) => ({
  strict,
  ...(maxLength !== undefined && { maxLength }),
  ...(maxNewTokens !== undefined && { maxNewTokens }),
});

/** What only holds where the model reasons. */
export const reasoningOptions = ({ embed, seed }: Pick<Settings, 'embed' | 'seed'>) => {
  const { samples, fusion, directWeight, temperature } = embed;
  return { samples, fusion, directWeight, temperature, seed };
};

/** Length of the vectors, as an option of the library. The model decides if it is not set. */
export const dimensionsOption = ({ dimensions }: Settings['embed']) =>
  dimensions === undefined ? {} : { dimensions };

/** How the model embeds, as an option of the library. The model decides if it is not set. */
export const promptOptions = ({ prompts, precision }: Settings['embed']) => ({
  precision,
  ...(prompts !== undefined && { prompts }),
});
