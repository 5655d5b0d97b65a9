/** The lengths of prompts, reasoning and vectors in training, within what a model has. */
import { directPrompt, reasoningPrompt } from '../checkpoint/index.js';
import type { Policy } from '../model/index.js';
import type { ResolvedRlOptions } from '../rl/index.js';
import { InputError } from '../run/index.js';
import type { ResolvedSftOptions } from '../sft/index.js';
import type { TrainingStageSettings } from './stages/stage.js';

/** What prompts are made with, and the shorter vectors that the model has. */
type Prompted = Pick<Policy, 'tokenizer' | 'prompts' | 'config' | 'matryoshka'>;

/** The least that the options of the stages take as a length of reasoning. */
const LEAST_REASONING = 2;

/**
 * The options of stage 1, with a `maxLength` that the model has positions for, and the lengths of its shorter vectors.
 * @param source names the settings in errors.
 * @throws InputError where the prompts alone do not fit, or for vectors that are not shorter.
 */
export async function fittingSft(
  { sft, seed }: Pick<TrainingStageSettings, 'sft' | 'seed'>,
  policy: Prompted,
  source: string,
): Promise<ResolvedSftOptions> {
  const reasoning = sft.reasoning.enabled ? sft.reasoning.maxNewTokens : 0;
  const fields = { maxLength: 'sft.maxLength', reasoning: 'sft.reasoning.maxNewTokens' };
  const maxLength = await promptLimit(policy, { maxLength: sft.maxLength, reasoning }, source, fields);
  const matryoshka = shorterVectors(sft.matryoshka, policy, source, 'sft.matryoshka');
  return { ...sft, seed, maxLength, ...(matryoshka && { matryoshka }) };
}

/** The options of stage 2 in the same way. */
export async function fittingRl(
  { rl, seed }: Pick<TrainingStageSettings, 'rl' | 'seed'>,
  policy: Prompted,
  source: string,
): Promise<ResolvedRlOptions> {
  const fields = { maxLength: 'rl.maxLength', reasoning: 'rl.maxNewTokens' };
  const limits = { maxLength: rl.maxLength, reasoning: rl.maxNewTokens };
  const maxLength = await promptLimit(policy, limits, source, fields);
  const field = 'rl.contrastive.matryoshka';
  const matryoshka = shorterVectors(rl.contrastive.matryoshka, policy, source, field);
  const contrastive = { ...rl.contrastive, ...(matryoshka && { matryoshka }) };
  return { ...rl, seed, maxLength, contrastive };
}

/** What is asked for, or else what the model was trained with. */
function shorterVectors(
  asked: readonly number[] | undefined,
  { config: { hiddenSize }, matryoshka }: Prompted,
  source: string,
  field: string,
): number[] | undefined {
  const longest = Math.max(0, ...(asked ?? []));
  if (longest >= hiddenSize) {
    const expected = `lengths below the ${hiddenSize} numbers of the model's vectors`;
    throw new InputError({ source, field, expected, found: String(longest) });
  }
  const lengths = asked ?? matryoshka;
  return lengths && [...lengths];
}

/**
 * The longest prompt that a stage may use: `maxLength`, or less where the model has fewer positions.
 * @param reasoning tokens that must fit behind the prompt.
 * @param fields names of both settings in errors.
 */
async function promptLimit(
  policy: Prompted,
  { maxLength, reasoning }: { maxLength: number; reasoning: number },
  source: string,
  fields: { maxLength: string; reasoning: string },
): Promise<number> {
  const { tokenizer, prompts, config } = policy;
  const empty = await Promise.all([
    directPrompt(tokenizer, prompts, '', 'query'),
    directPrompt(tokenizer, prompts, '', 'document'),
    reasoningPrompt(tokenizer, prompts, ''),
  ]);
  const bare = Math.max(...empty.map(({ ids }) => ids.length));
  const { maxPositions } = config;
  const limit = Math.min(maxLength, maxPositions - reasoning - 1);
  if (limit > bare) return limit;
  const prompt = `the ${bare} tokens of a prompt without its text`;
  if (maxLength <= bare) {
    const expected = `more than ${prompt}`;
    throw new InputError({ source, field: fields.maxLength, expected, found: String(maxLength) });
  }
  // One token of text and the embed token beside it.
  const most = maxPositions - bare - 2;
  if (most >= LEAST_REASONING) {
    throw new InputError({
      source,
      field: fields.reasoning,
      expected: `at most ${most}, beside ${prompt} in the ${maxPositions} positions of the model`,
      found: String(reasoning),
    });
  }
  throw new InputError({
    source: 'model',
    field: 'max_position_embeddings',
    expected: `room for ${prompt}, for text and for reasoning`,
    found: String(maxPositions),
    remedy: 'It takes a model of more positions, or shorter prompts (prompts.*).',
  });
}
