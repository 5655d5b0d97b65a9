/** What the commands share that use a model: which one, and how it embeds. Loads nothing heavy. */
import { dirname } from 'node:path';
import type { Command } from 'commander';
import type { z } from 'zod';
import type { Settings } from '../pipeline/index.js';
import { InputError } from '../run/errors.js';
import { configFlag } from './options.js';

/** Adds `--model`, the model to use. */
export function withModel(command: Command): Command {
  const description = 'model of sft, rl or train; default: that of the run in the config';
  return configFlag(command, '-m, --model <folder>', description, 'model');
}

const REMEMBERED = 'as the model was trained';

/** Adds `--strict` and `--max-length` for these texts, and `--max-new-tokens` where they may be reasoned about. */
export function withEmbedding(command: Command, texts: 'texts' | 'queries' | 'documents'): Command {
  const reasoned = texts !== 'documents';
  const longest = `longest prompt${reasoned ? ', reasoning aside' : ''}; at most what the model can take`;
  configFlag(command, '--strict', `refuse ${texts} that do not fit instead of cutting them`, 'embed.strict');
  configFlag(command, '--max-length <tokens>', `${longest} (default: ${REMEMBERED})`, 'embed.maxLength');
  if (!reasoned) return command;
  const reasoning = `length limit of the reasoning (default: ${REMEMBERED})`;
  return configFlag(command, '--max-new-tokens <n>', reasoning, 'embed.maxNewTokens');
}

/**
 * The settings of a command that uses a model. A config names it by its run: by `out`, or by being the one in a run's own
 * folder; there, `model` is what stage 2 started from. A flag names another one, which no index of the run is of.
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

/** @throws InputError where a model that is no folder here may be the name of one elsewhere. */
export async function refuseHubName(model: string | undefined): Promise<void> {
  if (model === undefined || !/^\w[\w.-]*\/[\w.-]+$/.test(model)) return;
  const { exists } = await import('../run/files.js');
  if ((await exists(model)) || (await exists(dirname(model)))) return;
  throw new InputError({
    source: model,
    expected: 'the folder of a model',
    found: 'nothing there',
    remedy: `Nothing is downloaded: of a model on Hugging Face, git clone https://huggingface.co/${model} (with Git LFS) makes a folder.`,
  });
}

/** The run folder whose own config this is. */
async function runOfConfig(path: string): Promise<string | undefined> {
  const { isRunConfig } = await import('../run/run-folder.js');
  const { readText } = await import('../run/files.js');
  return isRunConfig(await readText(path)) ? dirname(path) : undefined;
}

/**
 * Runs what embeds; an error about how names the setting, and the flag that gave it.
 * @param sectionOf where the setting of this name stands. Default `embed`.
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

/** Settings of `embed` as the library takes them: what is not set is left to the model. */
export const embeddingOptions = ({ strict, maxLength, maxNewTokens }: Settings['embed']) => ({
  strict,
  ...(maxLength !== undefined && { maxLength }),
  ...(maxNewTokens !== undefined && { maxNewTokens }),
});
