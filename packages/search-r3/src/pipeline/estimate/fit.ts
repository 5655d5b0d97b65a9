/** Refuses what does not fit into memory, and finds settings that would, by the same estimate. */
import { type AvailableMemory, InputError } from '../../run/index.js';
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

/** Budgets of tokens below one, from large to small. */
function* budgetsBelow(most: number): Generator<number> {
  for (let tokens = 2 ** Math.floor(Math.log2(most)); tokens >= LEAST_TOKENS; tokens /= 2) yield tokens;
}

/** Changes that save memory, those first that cost least. */
function* changes(settings: DataSettings, stages: readonly StageName[]): Generator<Change> {
  const [first] = stages;
  if (first === undefined) return;
  const most = Math.max(...stages.map((stage) => settings[stage].optimization.maxTokens));
  for (const checkpointActivations of [false, true]) {
    for (const maxTokens of budgetsBelow(most)) {
      const changed = { ...settings };
      const written: string[] = [];
      const set = (stage: StageName, key: string, value: unknown) =>
        written.push(`${stage}.optimization.${key}=${value}`);
      for (const stage of stages) {
        const { optimization } = settings[stage];
        const own = {
          ...optimization,
          maxTokens: Math.min(maxTokens, optimization.maxTokens),
          checkpointActivations: checkpointActivations || optimization.checkpointActivations,
        };
        if (own.maxTokens < optimization.maxTokens) set(stage, 'maxTokens', own.maxTokens);
        if (own.checkpointActivations !== optimization.checkpointActivations) {
          set(stage, 'checkpointActivations', true);
        }
        Object.assign(changed, { [stage]: { ...settings[stage], optimization: own } });
      }
      if (written.length > 0) yield { settings: changed, text: written.join(' ') };
    }
  }
}

/** Precisions that take less memory, from the most exact. */
const SMALLER = ['int8', 'int4'] as const;

function* precisions(settings: DataSettings): Generator<Change> {
  for (const precision of SMALLER) {
    if (settings.embed.precision === precision) continue;
    const embed = { ...settings.embed, precision };
    yield { settings: { ...settings, embed }, text: `embed.precision=${precision}` };
  }
}

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
  const uses = command === 'evaluate' || command === 'index';
  for (const change of uses ? precisions(settings) : changes(settings, tooLarge(found, bytes))) {
    const { peak } = await estimate(command, change.settings, basis);
    if (peak <= bytes) return change.text;
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
