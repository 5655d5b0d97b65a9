/** Steps as the stages make them, with sequences of sampled lengths in place of texts. */

import type { ResolvedRlOptions } from '../../rl/index.js';
import { type RandomStream, randomStream } from '../../run/index.js';
import type { ResolvedSftOptions } from '../../sft/index.js';
import type { Anchor, Label, StepRequest, TrainingSequence } from '../../train/index.js';
import type { PromptLengths } from './outline.js';

/** Draws lengths, cut to what the stage allows. */
class Lengths {
  readonly #lengths: PromptLengths;
  readonly #most: number;
  readonly #random: RandomStream;

  constructor(lengths: PromptLengths, most: number, random: RandomStream) {
    this.#lengths = lengths;
    this.#most = most;
    this.#random = random;
  }

  /** Tokens of a reasoning, of at most so many. */
  written(most: number): number {
    const { written } = this.#lengths;
    return written.length === 0 ? most : Math.min(most, this.#random.choice(written));
  }

  draw(kind: 'query' | 'document' | 'reasoning', count: number): number[] {
    const all = this.#lengths[kind];
    return Array.from({ length: count }, () =>
      all.length === 0 ? this.#most : Math.min(this.#most, this.#random.choice(all)),
    );
  }
}

const blank = (length: number): number[] => new Array<number>(length).fill(0);

/** Equal sequences would be encoded once: all get another first token. */
const differing = (sequences: readonly TrainingSequence[]): TrainingSequence[] =>
  sequences.map((one, i) => ({ ...one, ids: one.ids.with(0, i + 1) }));

/** A sequence that is embedded at its end, with labels on its last `labelled` tokens. */
function sequence(length: number, labelled: number, label: Omit<Label, 'position'>): TrainingSequence {
  const labels = Array.from({ length: labelled }, (_, i) => ({
    ...label,
    position: length - 1 - labelled + i,
  }));
  return { ids: blank(length), labels, embed: length - 1 };
}

/** A step of stage 1. Reasoning is as long as it may be, unless more is known. */
export function sftBatch(lengths: PromptLengths, options: ResolvedSftOptions, step: number): StepRequest {
  const { batchSize, maxLength, reasoning } = options;
  const drawn = new Lengths(lengths, maxLength, randomStream(options.seed, 'estimate', 'sft', step));
  const answer = lengths.answer + 1;
  const direct = [...drawn.draw('query', batchSize), ...drawn.draw('document', 2 * batchSize)];
  const sequences = direct.map((length) => sequence(length, Math.min(answer, length - 1), { weight: 1 }));
  const first = sequences.length;
  if (reasoning.enabled) {
    for (const length of drawn.draw('reasoning', batchSize)) {
      const written = drawn.written(reasoning.maxNewTokens);
      sequences.push(sequence(length + written, written, { weight: 1, klWeight: 1 }));
    }
  }
  const anchor = (own: number, i: number): Anchor => ({
    ...{ sequence: own, positive: i, negative: batchSize + i },
    ...{ infoNceWeight: 1, tripletWeight: 1, falseNegatives: [] },
  });
  const anchors = Array.from({ length: batchSize }, (_, i) => anchor(i, i));
  if (reasoning.enabled) anchors.push(...anchors.map((_, i) => anchor(first + i, i)));
  const documents = Array.from({ length: 2 * batchSize }, (_, i) => batchSize + i);
  return { sequences: differing(sequences), contrastive: { anchors, documents } };
}

/** A step of stage 2: every rollout is part of the update, half of them above their group. */
export function rlBatch(lengths: PromptLengths, options: ResolvedRlOptions, step: number): StepRequest {
  const { queriesPerStep, groupSize, maxLength, maxNewTokens, contrastive } = options;
  const drawn = new Lengths(lengths, maxLength, randomStream(options.seed, 'estimate', 'rl', step));
  const label = { weight: 1, klWeight: 1, advantage: 1, oldLogProbability: 0 };
  const sequences = drawn.draw('reasoning', queriesPerStep).flatMap((length) =>
    Array.from({ length: groupSize }, () => {
      const written = drawn.written(maxNewTokens);
      return sequence(length + written, written, label);
    }),
  );
  if (contrastive.weight === 0) return { sequences: differing(sequences) };
  const rollouts = sequences.length;
  for (const length of drawn.draw('document', 2 * queriesPerStep)) {
    sequences.push({ ids: blank(length), labels: [], embed: length - 1 });
  }
  const anchors = Array.from(
    { length: Math.ceil(rollouts / 2) },
    (_, i): Anchor => ({
      ...{ sequence: i, positive: Math.floor((2 * i) / groupSize) % queriesPerStep },
      ...{ infoNceWeight: 1, tripletWeight: 0, falseNegatives: [] },
    }),
  );
  const documents = Array.from({ length: 2 * queriesPerStep }, (_, i) => rollouts + i);
  return { sequences: differing(sequences), contrastive: { anchors, documents } };
}

/** A step of pre-training: whole sequences are predicted; pairs are embedded. */
export function pretrainBatch(
  read: readonly number[],
  pairs: readonly { query: number; document: number }[],
): StepRequest {
  const sequences: TrainingSequence[] = read.map((length) => ({
    ids: blank(length),
    labels: Array.from({ length: length - 1 }, (_, position) => ({ position, weight: 1 })),
  }));
  if (pairs.length === 0) return { sequences: differing(sequences) };
  const first = sequences.length;
  for (const kind of ['query', 'document'] as const) {
    for (const { [kind]: length } of pairs) {
      sequences.push({ ids: blank(length), labels: [], embed: length - 1 });
    }
  }
  const anchors = pairs.map(
    (_, i): Anchor => ({
      ...{ sequence: first + i, positive: i },
      ...{ infoNceWeight: 1, tripletWeight: 0, falseNegatives: [] },
    }),
  );
  return {
    sequences: differing(sequences),
    contrastive: { anchors, documents: pairs.map((_, i) => first + pairs.length + i) },
  };
}
