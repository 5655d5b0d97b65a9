/** Every flag of a command that stands for a setting sets that one, read as the command's schema wants it, and no other. */
import { buildProgram, configFlagsOf, loadConfig } from 'search-r3/cli';
import {
  embedSettings,
  evaluateSettings,
  indexSettings,
  pretrainSettings,
  rlSettings,
  searchSettings,
  sftSettings,
  targetSettings,
  trainSettings,
} from 'search-r3/pipeline';
import { describe, expect, test } from 'vitest';
import type { z } from 'zod';

/** `earlier`: flags after which the setting has another value, where that is the default. */
type Flag = [argv: string[], key: string, value: unknown, earlier?: string[]];

const TRAINING: Flag[] = [
  [['--data', 'corpus'], 'data', 'corpus'],
  [['--out', 'runs/x'], 'out', 'runs/x'],
  [['--seed', '17'], 'seed', 17],
  [['--save-every', '7'], 'saveEvery', 7],
];
const EMBEDDING: Flag[] = [
  [['--model', 'models/small'], 'model', 'models/small'],
  [['--prompts', 'topics'], 'embed.prompts', 'topics'],
  [['--precision', 'int8'], 'embed.precision', 'int8'],
  [['--strict'], 'embed.strict', true],
  [['--max-length', '96'], 'embed.maxLength', 96],
];
const REASONING: Flag[] = [
  [['--max-new-tokens', '9'], 'embed.maxNewTokens', 9],
  [['--samples', '4'], 'embed.samples', 4],
  [['--temperature', '0.7'], 'embed.temperature', 0.7],
  [['--fusion', 'direct+mean'], 'embed.fusion', 'direct+mean'],
  [['--direct-weight', '0.3'], 'embed.directWeight', 0.3],
];
const DIMENSIONS: Flag = [['--dimensions', '8'], 'embed.dimensions', 8];
const MISSING: Flag = [['--allow-missing'], 'allowMissing', true];

/** A command's schema, what it cannot do without, and a value for each of its flags. */
interface Known {
  schema: z.ZodType;
  needs: string[];
  flags: Flag[];
}

const COMMANDS: Record<string, Known> = {
  pretrain: {
    schema: pretrainSettings,
    needs: ['--data', 'd', '--out', 'o'],
    flags: [
      ...TRAINING,
      [['--steps', '321'], 'pretrain.steps', 321],
      [['--batch-size', '5'], 'pretrain.batchSize', 5],
      [['--vocab-size', '555'], 'pretrain.vocabSize', 555],
    ],
  },
  targets: {
    schema: targetSettings,
    needs: ['--data', 'd', '--base', 'b', '--file', 'f'],
    flags: [
      [['--data', 'corpus'], 'data', 'corpus'],
      [['--seed', '17'], 'seed', 17],
      MISSING,
      [['--base', 'models/small'], 'base', 'models/small'],
      [['--source', 'grounded'], 'sft.reasoning.source', 'grounded'],
      [['--file', 'mine.jsonl'], 'sft.reasoning.file', 'mine.jsonl'],
    ],
  },
  sft: {
    schema: sftSettings,
    needs: ['--data', 'd', '--out', 'o', '--base', 'b'],
    flags: [
      ...TRAINING,
      MISSING,
      [['--base', 'models/small'], 'base', 'models/small'],
      [['--steps', '321'], 'sft.steps', 321],
      [['--batch-size', '5'], 'sft.batchSize', 5],
      [['--learning-rate', '3e-5'], 'sft.optimization.learningRate', 3e-5],
      [['--title-pairs'], 'queries.titlePairs', true],
    ],
  },
  rl: {
    schema: rlSettings,
    needs: ['--data', 'd', '--out', 'o', '--model', 'm'],
    flags: [
      ...TRAINING,
      MISSING,
      [['--model', 'models/small'], 'model', 'models/small'],
      [['--steps', '321'], 'rl.steps', 321],
      [['--queries-per-step', '5'], 'rl.queriesPerStep', 5],
      [['--group-size', '3'], 'rl.groupSize', 3],
      [['--learning-rate', '3e-5'], 'rl.optimization.learningRate', 3e-5],
    ],
  },
  train: {
    schema: trainSettings,
    needs: ['--data', 'd', '--out', 'o'],
    flags: [
      ...TRAINING,
      MISSING,
      [['--base', 'models/small'], 'base', 'models/small'],
      [['--pretrain-steps', '321'], 'pretrain.steps', 321],
      [['--sft-steps', '321'], 'sft.steps', 321],
      [['--rl-steps', '321'], 'rl.steps', 321],
      [['--title-pairs'], 'queries.titlePairs', true],
    ],
  },
  evaluate: {
    schema: evaluateSettings,
    needs: ['--data', 'd', '--model', 'm'],
    flags: [
      MISSING,
      [['--model', 'models/small'], 'model', 'models/small'],
      [['--prompts', 'topics'], 'embed.prompts', 'topics'],
      [['--precision', 'int8'], 'embed.precision', 'int8'],
      [['--data', 'corpus'], 'data', 'corpus'],
      [['--split', 'dev'], 'evaluate.split', 'dev'],
      [['--systems', 'bm25', 'direct'], 'evaluate.systems', ['bm25', 'direct']],
      [['--queries', '11'], 'evaluate.queries', 11],
      [['--controls'], 'evaluate.controls', true],
      [['--max-length', '96'], 'evaluate.maxLength', 96],
      [['--samples', '4'], 'evaluate.samples', 4, ['--temperature', '1']],
      [['--temperature', '0.7'], 'evaluate.temperature', 0.7],
      [['--max-new-tokens', '9'], 'evaluate.maxNewTokens', 9],
      [['--exclude-self', 'never'], 'excludeSelf', 'never'],
      [['--analyzer', 'code'], 'analyzer', 'code'],
      [['--seed', '17'], 'seed', 17],
    ],
  },
  embed: { schema: embedSettings, needs: [], flags: [...EMBEDDING, ...REASONING, DIMENSIONS] },
  index: {
    schema: indexSettings,
    needs: ['--data', 'd'],
    flags: [
      ...EMBEDDING,
      DIMENSIONS,
      [['--data', 'corpus'], 'data', 'corpus'],
      [['--out', 'runs/x'], 'index.folder', 'runs/x'],
      [['--ann'], 'index.ann', true],
    ],
  },
  search: {
    schema: searchSettings,
    needs: [],
    flags: [
      ...EMBEDDING,
      ...REASONING,
      [['--index', 'runs/x'], 'index.folder', 'runs/x'],
      [['--no-reasoning'], 'search.reasoning', false],
      [['--reasoning'], 'search.reasoning', true, ['--no-reasoning']],
      [['-k', '3'], 'search.k', 3],
    ],
  },
};

/** The settings of a command line, by dotted key. */
async function settingsFrom(name: string, { schema, needs }: Known, argv: string[]) {
  const command = buildProgram().commands.find((candidate) => candidate.name() === name)!;
  command.parseOptions([...needs, ...argv]);
  const found = new Map<string, unknown>();
  const visit = (value: unknown, path: string): void => {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) found.set(path, value);
    else for (const [key, inner] of Object.entries(value)) visit(inner, path === '' ? key : `${path}.${key}`);
  };
  visit(await loadConfig(command, schema), '');
  return found;
}

test('these are all the flags that stand for settings', () => {
  const flagsOf = (flags: readonly Flag[]) => flags.map(([[flag]]) => flag).sort();
  for (const command of buildProgram().commands) {
    expect(
      configFlagsOf(command)
        .map(({ flag }) => flag)
        .sort(),
    ).toEqual(flagsOf(COMMANDS[command.name()]?.flags ?? []));
  }
});

describe.each(Object.entries(COMMANDS))('%s', (name, known) => {
  test.each(known.flags)('%j sets %s', async (argv, key, value, earlier = []) => {
    const before = await settingsFrom(name, known, earlier);
    const after = await settingsFrom(name, known, [...earlier, ...argv]);
    expect(before.get(key)).not.toEqual(value);
    expect(after).toEqual(new Map([...before, [key, value]]));
  });
});
