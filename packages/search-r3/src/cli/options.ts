/** Options and help examples that commands share. Loads nothing heavy. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { z } from 'zod';
import { Output } from './output.js';

/** Adds `--json` and `--quiet`. */
export function withOutput(command: Command): Command {
  return command
    .addOption(new Option('--json', 'write the result as one JSON document to stdout'))
    .addOption(new Option('-q, --quiet', 'write no notes and no progress to stderr'));
}

/** The output of a command made with `withOutput`, according to its options. */
export function outputOf(command: Command): Output {
  const { json = false, quiet = false } = command.opts<{ json?: boolean; quiet?: boolean }>();
  return new Output({ json, quiet });
}

/** Loads the schema of a command. Only its own help and its run need it. */
export type LoadSchema = () => Promise<z.ZodType>;

const schemas = new WeakMap<Command, LoadSchema>();

/** Adds `--config` and `--set`; `loadConfig` reads them. The schema describes the settings of the command. */
export function withConfig(command: Command, schema: LoadSchema): Command {
  schemas.set(command, schema);
  return command
    .addOption(new Option('-c, --config <file>', 'YAML file with settings'))
    .addOption(setOption());
}

/** `--set`. */
export const setOption = (): Option =>
  new Option(
    '--set <key=value>',
    'one setting: dotted key and YAML value; repeatable; overrides file and flags',
  ).argParser((value: string, before: string[] | undefined) => [...(before ?? []), value]);

/** Parses an option's value as a whole number of at least 1. */
export function parseCount(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) {
    throw new InvalidArgumentError('expected a whole number of at least 1');
  }
  return value;
}

/** Parses an option's value as a whole number. */
export function parseWhole(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || !Number.isSafeInteger(value)) {
    throw new InvalidArgumentError('expected a whole number');
  }
  return value;
}

/** A flag that sets a key of the config. */
export interface ConfigFlag {
  /** For example `--steps`. */
  flag: string;
  /** Name of commander's option value. */
  name: string;
  /** Dotted key in the config. */
  key: string;
  option: Option;
}

const configFlags = new WeakMap<Command, ConfigFlag[]>();

/**
 * Adds a flag that sets `key` of the config; the schema of the command describes the flag and checks its value. Several
 * values may be separated by spaces or commas.
 */
export function configFlag(command: Command, flags: string, key: string): Command {
  const option = new Option(flags);
  if (option.variadic) option.argParser(withoutCommas);
  command.addOption(option);
  const flag = option.long ?? option.short ?? flags;
  configFlags.set(command, [...configFlagsOf(command), { flag, name: option.attributeName(), key, option }]);
  return command;
}

/** Takes the help of the config flags from the schema of the command. */
export async function describeFlags(command: Command): Promise<void> {
  const load = schemas.get(command);
  if (load === undefined) return;
  const [{ flagHelp }, schema] = await Promise.all([import('./settings.js'), load()]);
  for (const { key, option } of configFlagsOf(command)) option.description = flagHelp(schema, key, option);
}

function withoutCommas(value: string, before: readonly string[] = []): string[] {
  const names = value.split(',').map((name) => name.trim());
  return [...before, ...names.filter((name) => name !== '')];
}

/** The config flags of a command, in the order they were added. */
export function configFlagsOf(command: Command): ConfigFlag[] {
  return configFlags.get(command) ?? [];
}

/** Adds `--data`. */
export function withData(command: Command): Command {
  return configFlag(command, '-d, --data <folder>', 'data');
}

/** A command line and what it does. */
export interface Example {
  /** Without the program's name, for example `inspect runs/first`. */
  command: string;
  does: string;
}

const commandExamples = new WeakMap<Command, readonly Example[]>();

/** Shows examples below the help of `command` and in the reference. */
export function examples(command: Command, list: readonly Example[]): Command {
  commandExamples.set(command, list);
  const text = list.map((example) => `  $ search-r3 ${example.command}\n      ${example.does}`);
  return command.addHelpText('after', `\nExamples:\n${text.join('\n')}`);
}

export function examplesOf(command: Command): readonly Example[] {
  return commandExamples.get(command) ?? [];
}
