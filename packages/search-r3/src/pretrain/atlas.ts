/** The base model of the built-in world: its tokenizer, its shape and its pre-training text. */

import type { ModelConfig, PromptOverrides } from '../checkpoint/index.js';
import {
  type AtlasWorld,
  atlasWords,
  factRecallProbes,
  type PretrainingItem,
  type PretrainingOptions,
  pretrainingText,
} from '../dataset/index.js';
import type { Generator } from '../generate/index.js';
import { type Tokenizer, trainWordLevel } from '../tokenizer/index.js';
import { modelShapeSchema } from './options.js';
import { scratchConfig } from './shape.js';
import type { SequenceSource } from './trainer.js';

export const ATLAS_END = '<|endoftext|>';

/** One special token opens each turn: every token of a prompt costs time. */
export const ATLAS_TEMPLATE =
  "{% for message in messages %}{{ '<|' + message['role'] + '|>' + message['content'] }}" +
  `{% if message['role'] == 'assistant' %}${ATLAS_END}{% endif %}{% endfor %}` +
  '{% if add_generation_prompt %}<|assistant|>{% endif %}';

/** The prompts in the words of the world. */
export const ATLAS_PROMPTS: PromptOverrides = {
  query: { system: 'represent', assistant: 'the embedding is' },
  document: { system: 'represent', assistant: 'the embedding is' },
  reasoning: { system: 'reason' },
};

/** A word-level tokenizer with every word of the world. */
export function atlasTokenizer(world: AtlasWorld): Tokenizer {
  const prompts = Object.values(ATLAS_PROMPTS).flatMap((prompt) =>
    Object.values(prompt as Record<string, string>),
  );
  const texts = [atlasWords(world).join(' '), ...prompts];
  return trainWordLevel(texts, {
    vocabSize: 1_000_000,
    specialTokens: [ATLAS_END, '<|system|>', '<|user|>', '<|assistant|>'],
    eosToken: ATLAS_END,
    padToken: ATLAS_END,
    lowercase: true,
    chatTemplate: ATLAS_TEMPLATE,
  });
}

/** Qwen2 with four layers of width 192: two million parameters. */
export function atlasConfig(tokenizer: Tokenizer): ModelConfig {
  return scratchConfig(tokenizer, modelShapeSchema.parse({}));
}

/** Token sequences of the world's pre-training stream, `batchSize` per step. */
export function atlasSequences(
  world: AtlasWorld,
  tokenizer: Tokenizer,
  batchSize: number,
  options: PretrainingOptions = {},
): SequenceSource {
  const end = tokenizer.eosId as number;
  const textOf = (item: PretrainingItem): string => {
    switch (item.kind) {
      case 'text':
        return item.text;
      case 'chat':
        return tokenizer.renderChat([
          { role: 'system', content: ATLAS_PROMPTS.reasoning?.system ?? '' },
          { role: 'user', content: item.user },
          { role: 'assistant', content: item.assistant },
        ]);
      default:
        item satisfies never;
        throw new Error('internal: unknown item');
    }
  };
  let stream = pretrainingText(world, options);
  let next = 0;
  return async (step) => {
    // A resumed run reads the stream again up to its step.
    if (step < next) {
      stream = pretrainingText(world, options);
      next = 0;
    }
    for (; next < step; next++) for (let i = 0; i < batchSize; i++) stream.next();
    next++;
    const items = Array.from({ length: batchSize }, () => stream.next().value);
    const encoded = await tokenizer.encodeBatch(items.map(textOf));
    return encoded.map((ids, i) => (items[i]?.kind === 'text' ? [end, ...ids, end] : ids));
  };
}

/** The share of facts that the model completes with the right word, by group of people and for places. */
export async function factRecall(
  world: AtlasWorld,
  tokenizer: Tokenizer,
  generator: Generator,
): Promise<Record<string, number>> {
  const probes = factRecallProbes(world);
  const end = tokenizer.eosId as number;
  const encoded = await tokenizer.encodeBatch(probes.map(({ prompt }) => prompt));
  const completions = await generator.generate(
    encoded.map((ids) => [end, ...ids]),
    { maxNewTokens: 1, temperature: 0, stop: [end] },
  );
  const groups = new Map<string, { right: number; total: number }>();
  for (const [i, { group, answer }] of probes.entries()) {
    const count = groups.get(group) ?? { right: 0, total: 0 };
    count.total++;
    if (completions[i]?.[0]?.tokens[0] === tokenizer.idOf(answer)) count.right++;
    groups.set(group, count);
  }
  return Object.fromEntries([...groups].map(([group, { right, total }]) => [group, right / total]));
}
