/**
 * Self-distilled reasoning targets: one reasoning per training query, sampled from the base model before training and
 * taken as it comes. Imitating them keeps the ability to reason while the embedding is learned.
 */
import { reasoningPrompts } from '../checkpoint/index.js';
import { memoryWeights, type Policy } from '../decoder/index.js';
import { Generator } from '../generate/index.js';
import { randomStream } from '../run/index.js';
import type { TrainingQuery } from './data.js';
import type { ResolvedSftOptions } from './options.js';

/** Tokens of a query's reasoning, without embed or end tokens. */
export type ReasoningTargets = Map<string, number[]>;

export interface TargetOptions {
  signal?: AbortSignal;
  onProgress?: (done: number, total: number) => void;
}

/** Samples a target for every query with the base's own weights; the same seed gives the same targets. */
export async function sampleTargets(
  base: Policy,
  queries: readonly TrainingQuery[],
  options: Pick<ResolvedSftOptions, 'reasoning' | 'seed' | 'maxLength'>,
  { signal, onProgress }: TargetOptions = {},
): Promise<ReasoningTargets> {
  const { tokenizer, prompts, embedId, stopIds, config } = base;
  const generator = await Generator.create(config, memoryWeights(base));
  const targets: ReasoningTargets = new Map();
  const { maxNewTokens, temperature } = options.reasoning;
  // In pieces, so that progress can be shown. Each has a seed of its own, which no piece under another seed has.
  const piece = 128;
  try {
    for (let at = 0; at < queries.length; at += piece) {
      const part = queries.slice(at, at + piece);
      const texts = part.map(({ text }) => text);
      const prompted = await reasoningPrompts(tokenizer, prompts, texts, { maxTokens: options.maxLength });
      const completions = await generator.generate(
        prompted.map(({ ids }) => ids),
        {
          // The embed token follows.
          maxNewTokens: maxNewTokens - 1,
          temperature,
          stop: [embedId, ...stopIds],
          seed: randomStream(options.seed, 'sft', 'targets', at).integer(Number.MAX_SAFE_INTEGER),
          ...(signal && { signal }),
        },
      );
      for (const [i, query] of part.entries()) {
        const tokens = completions[i]?.[0]?.tokens ?? [];
        targets.set(
          query.id,
          tokens.filter((token) => token !== embedId && !stopIds.includes(token)),
        );
      }
      onProgress?.(at + part.length, queries.length);
    }
  } finally {
    await generator.dispose();
  }
  return targets;
}
