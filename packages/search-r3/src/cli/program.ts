/** The program: its commands, its error messages and its exit codes. */
import { Command, CommanderError } from 'commander';
import { DivergenceError, InputError, InterruptedError } from '../run/errors.js';
import { INTERRUPTED_EXIT_CODE } from '../run/stop.js';
import { VERSION } from '../run/version.js';
import { commands } from './commands/index.js';
import { describeFlags, examples } from './options.js';
import type { TextStream } from './streams.js';

export const EXIT = { ok: 0, failure: 1, input: 2, interrupted: INTERRUPTED_EXIT_CODE } as const;

/** The whole program with all its commands; `factories` replaces the commands in tests. */
export function buildProgram(factories: readonly (() => Command)[] = commands): Command {
  const program = new Command('search-r3')
    .description('Language models that think before they embed: training, evaluation, indexing and search.')
    .version(VERSION)
    .helpCommand('help [command]', 'The same as --help; help COMMAND shows the help of a command.');
  for (const factory of factories) program.addCommand(factory());
  program.hook('preSubcommand', (_, command) => describeFlags(command));
  examples(program, [
    { command: 'COMMAND --help', does: 'Show the options and examples of a command.' },
    { command: 'inspect runs/first', does: 'Show what a run, a model or a collection holds.' },
  ]);
  program.addHelpText(
    'after',
    '\nExit codes: 0 success, 1 failure, 2 wrong usage or bad input, 130 interrupted.',
  );
  return program;
}

/** Runs the program with these arguments (without node and script) and returns its exit code. */
export async function runProgram(
  argv: readonly string[],
  options: { stderr?: TextStream; program?: Command } = {},
): Promise<number> {
  const program = options.program ?? buildProgram();
  const stderr = options.stderr ?? process.stderr;
  prepare(program, stderr);
  try {
    await program.parseAsync(withKnownTopic(argv, program), { from: 'user' });
    return EXIT.ok;
  } catch (error) {
    return report(error, stderr);
  }
}

/** Makes `help NAME` `NAME --help`, and with an unknown command NAME, so that the error suggests the likely command. */
function withKnownTopic(argv: readonly string[], program: Command): string[] {
  const [first, topic] = argv;
  if (first !== 'help' || topic === undefined) return [...argv];
  const isKnown = program.commands.some((command) => command.name() === topic);
  return isKnown ? [topic, '--help'] : [topic];
}

/** Keeps commander from ending the process; it has to be set on every command. */
function prepare(command: Command, stderr: TextStream): void {
  command.exitOverride().configureOutput({ writeErr: (text) => stderr.write(text) });
  command.showHelpAfterError('Run with --help for usage and examples.');
  for (const inner of command.commands) prepare(inner, stderr);
}

/** Writes an error for the user, as briefly as is useful, and returns its exit code. */
function report(error: unknown, stderr: TextStream): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.input; // Commander has printed it.
  if (error instanceof InputError) {
    stderr.write(`error: ${oneLine(error.message)}\n`);
    return EXIT.input;
  }
  if (error instanceof InterruptedError) {
    stderr.write(`${oneLine(error.message)}\n`);
    return EXIT.interrupted;
  }
  // These errors, and those of the operating system (a full disk), need no stack trace. Anything else is a bug and
  // does.
  const needsNoStack =
    error instanceof DivergenceError || (error instanceof Error && 'code' in error && 'syscall' in error);
  const text =
    error instanceof Error ? (needsNoStack ? error.message : (error.stack ?? error.message)) : String(error);
  stderr.write(`error: ${text}\n`);
  return EXIT.failure;
}

const oneLine = (text: string) => text.replaceAll(/\s*\n\s*/g, ' ');
