/** What a request should have drawn, by a forward pass without a cache in float64 and transformers' definitions. */
import type { Completion, GenerationRequest } from 'search-r3/generate';
import { randomStream } from 'search-r3/run';
import { expect } from 'vitest';
import type { ReferenceModel } from '../reference/objectives.js';
import { processed, softmaxOf } from './transformers-logits.js';

/** Probabilities differ by so much between float32 and float64. */
const TOLERANCE = 1e-5;

/** Scores before each token of a completion, with those that may not end it yet left out. */
function scoresOf(model: ReferenceModel, request: GenerationRequest, { tokens }: Completion): number[][] {
  const { prompt, minNewTokens = 0, stop, embedToken } = request;
  const { logits } = model.forward([...prompt, ...tokens]);
  const { vocabSize } = model.config;
  const ends = [...stop, ...(embedToken === undefined ? [] : [embedToken])];
  return tokens.map((_, t) => {
    const at = prompt.length - 1 + t;
    const scores = Array.from(logits.data.slice(at * vocabSize, (at + 1) * vocabSize));
    return scores.map((score, id) => (t < minNewTokens && ends.includes(id) ? -Infinity : score));
  });
}

/** Checks every token against the seed's stream, and its log-probability. */
export function expectDrawn(
  model: ReferenceModel,
  request: GenerationRequest,
  completion: Completion,
  sample = 0,
): void {
  const { prompt, seed = 0, index = 0, temperature = 1, topK = 0, topP = 1, minP = 0 } = request;
  const stream = randomStream(seed, 'generate', index, sample);
  for (const [t, scores] of scoresOf(model, request, completion).entries()) {
    const token = completion.tokens[t]!;
    const seen = [...prompt, ...completion.tokens.slice(0, t)];
    const penalised = { repetitionPenalty: request.repetitionPenalty ?? 1 };
    const warmth = temperature === 0 ? 1 : temperature;
    const whole = softmaxOf(processed(scores, seen, { ...penalised, temperature: warmth }));
    expect(Math.abs(completion.logProbabilities[t]! - Math.log(whole[token]!))).toBeLessThan(1e-3);
    if (temperature === 0) {
      expect(whole[token]).toBeGreaterThan(Math.max(...whole) - TOLERANCE);
      continue;
    }
    const left = softmaxOf(processed(scores, seen, { ...penalised, temperature, topK, topP, minP }));
    const truncated = topK > 0 || topP < 1 || minP > 0;
    const order = [...left.keys()];
    if (truncated) order.sort((a, b) => left[b]! - left[a]! || a - b);
    const place = order.indexOf(token);
    const below = order.slice(0, place).reduce((sum, id) => sum + left[id]!, 0);
    const drawn = stream.uniform();
    expect(drawn).toBeGreaterThan(below - TOLERANCE);
    expect(drawn).toBeLessThan(below + left[token]! + TOLERANCE);
  }
}
