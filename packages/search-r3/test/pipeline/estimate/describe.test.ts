/** Estimates in words, and what the refusal of one says. */
import { buildProgram } from 'search-r3/cli';
import {
  type CommandEstimate,
  ESTIMATED,
  estimateLine,
  estimateTable,
  formatBytes,
  formatSeconds,
} from 'search-r3/pipeline';
import { describe, expect, test } from 'vitest';

describe('in words', () => {
  test.each([
    [349_600_000, '350 MB'],
    [999_600_000, '1.0 GB'],
    [2_140_000_000, '2.1 GB'],
  ])('%i bytes are %s', (count, expected) => expect(formatBytes(count)).toBe(expected));

  test.each([
    [0.2, '1 second'],
    [40.4, '40 seconds'],
    [2100, '35 minutes'],
    [9000, '2.5 hours'],
    [86_400, '24 hours'],
  ])('%f s are %s', (count, expected) => expect(formatSeconds(count)).toBe(expected));

  const found: CommandEstimate = {
    command: 'train',
    stages: [
      {
        ...{ stage: 'sft', phase: 'training', peak: 5e8, seconds: 100 },
        parts: [
          { name: 'activations', bytes: 3e8 },
          { name: 'weights', bytes: 2e8 },
        ],
        times: [{ name: 'gradients', seconds: 100 }],
      },
      {
        ...{ stage: 'rl', phase: 'rl', peak: 2e9, seconds: 2000 },
        parts: [{ name: 'weights', bytes: 2e9 }],
        times: [{ name: 'rollouts', seconds: 2000 }],
      },
    ],
    peak: 2e9,
    seconds: 2100,
  };

  test('a line', () => {
    expect(estimateLine(found)).toBe('estimated: 2.0 GB of memory, about 35 minutes');
  });

  test('a table', () => {
    expect(estimateTable(found, { bytes: 1.5e9, by: 'machine' })).toMatchInlineSnapshot(`
      "sft: 500 MB (most in its training), about 2 minutes
        memory  activations        300 MB
                weights            200 MB
        time    gradients       2 minutes

      rl: 2.0 GB, about 33 minutes
        memory  weights         2.0 GB
        time    rollouts    33 minutes

      memory  2.0 GB in rl, which does not fit: the machine has 1.5 GB available
      time    about 35 minutes on this machine as it is now"
    `);
  });
});

test('inspect plans all commands that show an estimate', () => {
  const inspect = buildProgram().commands.find((command) => command.name() === 'inspect');
  const option = inspect?.options.find(({ long }) => long === '--for');
  expect(option?.argChoices).toEqual(ESTIMATED);
  for (const name of ESTIMATED) {
    const command = buildProgram().commands.find((one) => one.name() === name);
    expect(
      command?.options.map(({ long }) => long),
      name,
    ).toContain('--ignore-memory');
  }
});
