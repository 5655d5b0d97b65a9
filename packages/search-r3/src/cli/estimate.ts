/** The estimate that long commands show before they load anything, and their refusal where memory will not do. */
import { type Command, Option } from 'commander';
import type { DataSettings, EstimatedCommand } from '../pipeline/index.js';
import type { Output } from './output.js';

/** Adds `--ignore-memory`. */
export function withEstimate(command: Command): Command {
  return command.addOption(
    new Option('--ignore-memory', 'go on even if the estimate exceeds the memory that is available'),
  );
}

/**
 * Shows how much memory and time a command will take.
 * @param source names the settings in the error.
 * @throws InputError if it takes more memory than there is, unless `--ignore-memory` is given.
 */
export async function announce(
  command: Command,
  name: EstimatedCommand,
  settings: DataSettings,
  output: Output,
  source = 'settings',
): Promise<void> {
  const { basisOf, demandMemory, estimate, estimateLine } = await import('../pipeline/index.js');
  const { availableMemory } = await import('../run/memory.js');
  const basis = await basisOf(name, settings);
  const found = await estimate(name, settings, basis);
  output.note(estimateLine(found));
  const { ignoreMemory = false } = command.opts<{ ignoreMemory?: boolean }>();
  if (!ignoreMemory) await demandMemory(found, settings, basis, availableMemory(), source);
}
