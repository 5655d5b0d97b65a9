/**
 * Renders `docs/reference/cli.md` from the commands. Run directly (`node packages/search-r3/dist/cli/reference.js`), it
 * writes that page and `docs/guides/options.md`.
 */
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { writeFileAtomic } from '../run/files.js';
import { configFlagsOf, describeFlags, examplesOf } from './options.js';
import { buildProgram } from './program.js';
import { OPTIONS_PATH, renderOptions } from './settings-reference.js';

/** Path of the committed reference, relative to the compiled file. */
export const REFERENCE_PATH = fileURLToPath(new URL('../../../../docs/reference/cli.md', import.meta.url));

/** The reference of `program` as Markdown. */
export async function renderReference(program: Command): Promise<string> {
  for (const command of program.commands) await describeFlags(command);
  const intro = [
    '# Command line',
    '<!-- Rendered from the commands by packages/search-r3/src/cli/reference.ts; do not edit. -->',
    program.description(),
    'Results go to stdout; notes, warnings and progress go to stderr. Exit codes: 0 success, 1 failure, 2 wrong usage or bad input, 130 interrupted (the run can be resumed).',
    '`search-r3 help COMMAND` is the same as `search-r3 COMMAND --help`.',
    'Settings come from `--config FILE`, then from flags, then from `--set KEY=VALUE`; later ones win.',
    `Commands: ${program.commands.map((command) => `[${command.name()}](#${command.name()})`).join(', ')}.`,
  ];
  return `${[...intro, ...program.commands.map(renderCommand)].join('\n\n')}\n`;
}

function renderCommand(command: Command): string {
  const help = command.createHelp();
  const keys = new Map(configFlagsOf(command).map(({ flag, key }) => [flag, key]));
  const args = help
    .visibleArguments(command)
    .map((argument) => row(code(help.argumentTerm(argument)), help.argumentDescription(argument)));
  const options = help.visibleOptions(command).map((option) => {
    const key = keys.get(option.long ?? option.short ?? '');
    const sets = key === undefined ? '' : `; sets ${code(key)}`;
    return row(code(help.optionTerm(option)), `${help.optionDescription(option)}${sets}`);
  });
  const shown = examplesOf(command).map(({ command: text, does }) => `# ${does}\nsearch-r3 ${text}`);
  return [
    `## ${command.name()}`,
    command.description(),
    `Usage: ${code(`search-r3 ${command.name()} ${command.usage()}`)}`,
    ...(args.length === 0 ? [] : [table('Argument', args)]),
    table('Option', options),
    ...(shown.length === 0 ? [] : [`\`\`\`sh\n${shown.join('\n\n')}\n\`\`\``]),
  ].join('\n\n');
}

function table(heading: string, rows: readonly string[]): string {
  return [`| ${heading} | |`, '| --- | --- |', ...rows].join('\n');
}

const code = (text: string) => `\`${text}\``;
const row = (term: string, text: string) =>
  `| ${term.replaceAll('|', '\\|')} | ${text.replaceAll('|', '\\|')} |`;

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  await writeFileAtomic(REFERENCE_PATH, await renderReference(buildProgram()));
  await writeFileAtomic(OPTIONS_PATH, renderOptions());
}
