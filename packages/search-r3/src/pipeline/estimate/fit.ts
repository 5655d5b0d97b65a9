/** Refuses what does not fit into memory, and finds settings that would, by the same estimate. */
import { type AvailableMemory, InputError } from '../../run/index.js';
import { loraSchema } from '../../train/index.js';
import type { StageName } from '../result.js';
import { type Basis, type CommandEstimate, type DataSettings, estimate } from './estimate.js';
import { formatBytes } from './parts.js';

/** Settings in place of others, and how to write them. */
interface Change {
  settings: DataSettings;
  text: string;
}

/** The smallest budget of tokens that is proposed. */
const LEAST_TOKENS = 256;

/** Powers of two below a budget of tokens, from large to small. */
const budgetsBelow = (most: number): number[] =>
  Array.from({ length: Math.max(0, Math.floor(Math.log2(most / LEAST_TOKENS)) + 1) }, (_, i) =>
    Math.min(most, LEAST_TOKENS * 2 ** i),
  ).reverse();

/** What saves memory besides smaller pieces, in the order in which it is tried. */
const WAYS = ['nothing', 'checkpointed', 'adapter'] as const;

type Way = (typeof WAYS)[number];

/** Stages with pieces of so many tokens, and a way to save more; undefined where the settings stay as they are. */
function inPieces(
  settings: DataSettings,
  stages: readonly StageName[],
  maxTokens: number,
  way: Way,
): Change | undefined {
  const lora = way === 'adapter' ? loraSchema.parse({ base: 'int8' }) : settings.lora;
  const changed = { ...settings, lora };
  const written = way === 'adapter' ? ['lora.base=int8'] : [];
  for (const stage of stages) {
    const { optimization } = settings[stage];
    const own = {
      ...optimization,
      maxTokens: Math.min(maxTokens, optimization.maxTokens),
      checkpointActivations: way === 'checkpointed' || optimization.checkpointActivations,
    };
    for (const key of ['maxTokens', 'checkpointActivations'] as const) {
      if (own[key] !== optimization[key]) written.push(`${stage}.optimization.${key}=${own[key]}`);
    }
    Object.assign(changed, { [stage]: { ...settings[stage], optimization: own } });
  }
  return written.length === 0 ? undefined : { settings: changed, text: written.join(' ') };
}

/** The first of the changes that fits, if each takes less memory than the one before. */
async function firstFitting(
  changes: readonly Change[],
  fits: (change: Change) => Promise<boolean>,
): Promise<Change | undefined> {
  let [low, high] = [0, changes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (await fits(changes[middle] as Change)) high = middle;
    else low = middle + 1;
  }
  return changes[low];
}

/** Precisions that take less memory, from the most exact. */
const SMALLER = ['int8', 'int4'] as const;

const precisions = (settings: DataSettings): Change[] =>
  SMALLER.filter((precision) => precision !== settings.embed.precision).map((precision) => ({
    settings: { ...settings, embed: { ...settings.embed, precision } },
    text: `embed.precision=${precision}`,
  }));

/** The stages of an estimate that do not fit. */
function tooLarge({ stages }: CommandEstimate, bytes: number): StageName[] {
  const names = stages.filter(({ peak }) => peak > bytes).map(({ stage }) => stage);
  return (['pretrain', 'sft', 'rl'] as const).filter((name) => names.includes(name));
}

/** Settings that would fit into so many bytes, as `--set` takes them; undefined if none is known. */
export async function settingsThatFit(
  found: CommandEstimate,
  settings: DataSettings,
  basis: Basis,
  bytes: number,
): Promise<string | undefined> {
  const { command } = found;
  const fits = async (change: Change) => (await estimate(command, change.settings, basis)).peak <= bytes;
  if (command === 'evaluate' || command === 'index') {
    return (await firstFitting(precisions(settings), fits))?.text;
  }
  const stages = tooLarge(found, bytes);
  const most = Math.max(LEAST_TOKENS, ...stages.map((stage) => settings[stage].optimization.maxTokens));
  // Pre-training has no adapter, and stage 2 goes on with what stage 1 made.
  const adaptable = settings.lora === undefined && stages.includes('sft') && !stages.includes('pretrain');
  for (const way of WAYS) {
    if (way === 'adapter' && !adaptable) continue;
    const changes = budgetsBelow(most).flatMap((tokens) => inPieces(settings, stages, tokens, way) ?? []);
    const change = await firstFitting(changes, fits);
    if (change !== undefined) return change.text;
  }
  return undefined;
}

/**
 * Passes an estimate that fits.
 * @param source names the settings in the error.
 * @throws InputError naming settings that would fit, for one that does not.
 */
export async function demandMemory(
  found: CommandEstimate,
  settings: DataSettings,
  basis: Basis,
  available: AvailableMemory,
  source: string,
): Promise<void> {
  if (found.peak <= available.bytes) return;
  const fitting = await settingsThatFit(found, settings, basis, available.bytes);
  const way =
    fitting === undefined
      ? 'A smaller model would fit.'
      : `This would fit: --set ${fitting.replaceAll(' ', ' --set ')}.`;
  throw new InputError({
    source,
    expected: `a command that fits into the ${formatBytes(available.bytes)} of memory that the ${available.by} has available`,
    found: `one that takes about ${formatBytes(found.peak)}`,
    remedy: `${way} To try it anyway: --ignore-memory. The parts: search-r3 inspect --plan.`,
  });
}
