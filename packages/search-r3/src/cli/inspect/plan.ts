/** What a command with some settings would take. */
import type { Command } from 'commander';
import { planSettings } from '../../pipeline/config.js';
import { basisOf, type EstimatedCommand, estimate, estimateTable } from '../../pipeline/index.js';
import { availableMemory } from '../../run/memory.js';
import { loadConfig } from '../config.js';
import type { Inspection } from './inspection.js';

/** Of the options `--plan`, `--for` and `--set`. @throws InputError for settings, models and data as the command would. */
export async function inspectPlan(command: Command): Promise<Inspection> {
  const { plan = '', for: name } = command.opts<{ plan?: string; for: EstimatedCommand }>();
  const settings = await loadConfig(command, planSettings, plan);
  const basis = await basisOf(name, settings);
  const found = await estimate(name, settings, basis);
  const available = availableMemory();
  return {
    value: { kind: 'plan', path: plan, ...found, available, machine: basis.machine },
    text: () => estimateTable(found, available),
  };
}
