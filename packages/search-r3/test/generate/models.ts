/**
 * Tiny models for both kernels of cached attention (the one that rotates takes head widths divisible by 16), with one,
 * two and all heads of keys and values, and what the reference says of a completion of theirs.
 */
import type { Completion } from 'search-r3/generate';
import { asParameters, type DecoderConfig } from '../reference/decoder.js';
import { TINY_CONFIGS, tinyWeights } from '../reference/fixtures.js';
import { type ReferenceModel, referenceModel } from '../reference/objectives.js';

const [llama, qwen2, qwen3] = TINY_CONFIGS as [DecoderConfig, DecoderConfig, DecoderConfig];

export const MODELS: readonly [string, DecoderConfig][] = [
  ['llama, heads of 8, 2 for keys', llama],
  ['qwen2, heads of 24, 2 for keys', { ...qwen2, headDim: 24 }],
  ['qwen3, heads of 40, 4 for keys', { ...qwen3, headDim: 40, kvHeads: 4 }],
  ['llama, heads of 16, 2 for keys', { ...llama, headDim: 16 }],
  ['qwen2, heads of 16, 4 for keys', { ...qwen2, headDim: 16, kvHeads: 4 }],
  ['qwen3, heads of 32, 1 for keys', { ...qwen3, headDim: 32, kvHeads: 1 }],
];

export const reference = (config: DecoderConfig): ReferenceModel =>
  referenceModel(
    config,
    asParameters(tinyWeights(config), () => false),
  );

export interface ReferenceRow {
  /** Per generated token: its logit's distance to the best one. */
  gaps: number[];
  /** Per generated token: log-probability at the temperature. */
  logProbabilities: number[];
  /** Per generated token: the probabilities of all tokens at the temperature. */
  probabilities: number[][];
  /** Hidden state at the last token, as input. */
  hidden: Float64Array;
}

/** One forward pass without a cache over the prompt and what was generated. */
export function judge(
  model: ReferenceModel,
  prompt: readonly number[],
  { tokens }: Completion,
  temperature = 1,
): ReferenceRow {
  const { hidden, logits } = model.forward([...prompt, ...tokens]);
  const { vocabSize, hiddenSize } = model.config;
  const row: ReferenceRow = {
    gaps: [],
    logProbabilities: [],
    probabilities: [],
    hidden: hidden.data.slice(-hiddenSize),
  };
  for (const [i, token] of tokens.entries()) {
    const at = prompt.length - 1 + i;
    const scores = logits.data.slice(at * vocabSize, (at + 1) * vocabSize);
    const best = Math.max(...scores);
    const exponentials = Array.from(scores, (score) => Math.exp((score - best) / temperature));
    const total = exponentials.reduce((a, b) => a + b, 0);
    const probabilities = exponentials.map((value) => value / total);
    row.gaps.push(best - (scores[token] as number));
    row.probabilities.push(probabilities);
    row.logProbabilities.push(Math.log(probabilities[token] as number));
  }
  return row;
}
