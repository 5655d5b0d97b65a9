/** Reasoning targets that the user brings, as tokens. */
import type { Model, Policy } from '../model/index.js';
import { InputError } from '../run/index.js';
import type { ReasoningTargets } from './targets.js';

/**
 * @param texts by query id.
 * @param most tokens of a target, the embed token included.
 * @param source names the texts in errors.
 * @throws InputError for a text that is longer.
 */
export async function givenTargets(
  { tokenizer, embedId }: Pick<Model<Policy>, 'tokenizer' | 'embedId'>,
  texts: ReadonlyMap<string, string>,
  most: number,
  source: string,
): Promise<ReasoningTargets> {
  const encoded = await tokenizer.encodeBatch([...texts.values()]);
  const targets: ReasoningTargets = new Map();
  for (const [i, id] of [...texts.keys()].entries()) {
    const tokens = (encoded[i] ?? []).filter((token) => token !== embedId);
    if (tokens.length >= most) {
      throw new InputError({
        source,
        field: `query ${id}`,
        expected: `a reasoning of at most ${most - 1} tokens`,
        found: `${tokens.length}`,
        remedy: 'Shorten it, or raise sft.reasoning.maxNewTokens and rl.maxNewTokens.',
      });
    }
    targets.set(id, tokens);
  }
  return targets;
}
