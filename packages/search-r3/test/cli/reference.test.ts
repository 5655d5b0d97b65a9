import { readFile } from 'node:fs/promises';
import { Command } from 'commander';
import {
  buildProgram,
  configFlag,
  examples,
  REFERENCE_PATH,
  renderReference,
  withConfig,
  withOutput,
} from 'search-r3/cli';
import { expect, test } from 'vitest';
import { z } from 'zod';

test('the committed reference is current (else: node packages/search-r3/dist/cli/reference.js)', async () => {
  expect(await readFile(REFERENCE_PATH, 'utf8')).toBe(await renderReference(buildProgram()));
});

test('every command has a description, examples that start with its name, and described options', async () => {
  for (const command of buildProgram().commands) {
    const help = await renderReference(buildProgram([() => command]));
    expect(command.description(), command.name()).toMatch(/\.$/);
    for (const option of command.options)
      expect(option.description, `${command.name()} ${option.flags}`).not.toBe('');
    expect(help).toContain(`\nsearch-r3 ${command.name()} `);
  }
});

test('shows arguments, options with the key they set, and examples', async () => {
  const train = () => {
    const steps = z.int().default(7).meta({ description: 'How many `steps`.' });
    const command = withOutput(
      withConfig(new Command('train').description('Trains.').argument('<data>', 'a | b'), async () =>
        z.object({ rl: z.object({ steps }) }),
      ),
    );
    configFlag(command, '--steps <n>', 'rl.steps');
    return examples(command, [{ command: 'train data --steps 3', does: 'Three steps.' }]);
  };
  const text = await renderReference(buildProgram([train]));
  expect(text.slice(text.indexOf('## train'))).toMatchInlineSnapshot(`
    "## train

    Trains.

    Usage: \`search-r3 train [options] <data>\`

    | Argument | |
    | --- | --- |
    | \`data\` | a \\| b |

    | Option | |
    | --- | --- |
    | \`-c, --config <file>\` | YAML file with settings |
    | \`--set <key=value>\` | one setting: dotted key and YAML value; repeatable; overrides file and flags |
    | \`--json\` | write the result as one JSON document to stdout |
    | \`-q, --quiet\` | write no notes and no progress to stderr |
    | \`--steps <n>\` | how many steps (default: 7); sets \`rl.steps\` |
    | \`-h, --help\` | display help for command |

    \`\`\`sh
    # Three steps.
    search-r3 train data --steps 3
    \`\`\`
    "
  `);
});
