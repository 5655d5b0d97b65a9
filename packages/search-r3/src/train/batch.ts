/** The batch of a training step: sequences, labels, anchors and documents, and their padding for a program. */
import { type HostTensor, i64 } from 'onnx-grad';
import { padRight } from '../decoder/index.js';

/** One predicted token of a sequence: position p predicts the token at p + 1. */
export interface Label {
  position: number;
  /** Weight in the token term; sums and means are the caller's business. */
  weight: number;
  /** Weight in the KL term (stage 1: to the base; stage 2: k3 to the reference). Default 0. */
  klWeight?: number;
  advantage?: number;
  oldLogProbability?: number;
  /** At sampling, where the sampler computes otherwise than the trainer. */
  samplerLogProbability?: number;
  referenceLogProbability?: number;
}

export interface TrainingSequence {
  ids: readonly number[];
  labels: readonly Label[];
  /** Position of the embed token whose hidden state is this sequence's embedding. */
  embed?: number;
}

/** The embedding of a query, which the contrastive term pulls towards a document. Sequences and documents are indices. */
export interface Anchor {
  sequence: number;
  /** Index among `documents` of the contrastive batch. */
  positive: number;
  /** Index among `documents` of the hard negative of the triplet term. Default none. */
  negative?: number;
  infoNceWeight: number;
  tripletWeight: number;
  /** Documents (by index) that answer this anchor too: left out of its InfoNCE. */
  falseNegatives: readonly number[];
}

export interface ContrastiveBatch {
  anchors: readonly Anchor[];
  /** Sequence indices of the document embeddings. */
  documents: readonly number[];
}

/** The sequences of a step that have to be encoded, each once. */
export interface DistinctSequences {
  sequences: TrainingSequence[];
  /**
   * For each sequence of the step, which of them has its embedding and its labels, and where its own labels begin there.
   * Undefined: nothing of it is read.
   */
  places: ({ sequence: number; firstLabel: number } | undefined)[];
  /** The contrastive batch, of these sequences. */
  contrastive: ContrastiveBatch | undefined;
}

/**
 * Sequences of equal ids become one, which has the labels of all: a document that is the positive of one query and the
 * negative of another, or equal completions, are encoded once. A sequence without a label or embedding that is read is
 * left out.
 * @param reads whether a term reads a label.
 */
export function distinctSequences(
  sequences: readonly TrainingSequence[],
  contrastive: ContrastiveBatch | undefined,
  reads: (label: Label) => boolean,
): DistinctSequences {
  const embedded = new Set([
    ...(contrastive?.documents ?? []),
    ...(contrastive?.anchors ?? []).map(({ sequence }) => sequence),
  ]);
  const distinct: { ids: readonly number[]; labels: Label[]; embed?: number }[] = [];
  const known = new Map<string, number>();
  const places = sequences.map(({ ids, labels, embed }, i) => {
    const wanted = embedded.has(i) ? embed : undefined;
    if (wanted === undefined && !labels.some(reads)) return undefined;
    const key = ids.join();
    let sequence = known.get(key);
    const other = sequence === undefined ? undefined : distinct[sequence]?.embed;
    // One sequence has one embedding.
    if (sequence === undefined || (other !== undefined && wanted !== undefined && other !== wanted)) {
      sequence = distinct.push({ ids, labels: [] }) - 1;
      known.set(key, sequence);
    }
    const own = distinct[sequence] as (typeof distinct)[number];
    const firstLabel = own.labels.length;
    own.labels.push(...labels);
    if (wanted !== undefined) own.embed = wanted;
    return { sequence, firstLabel };
  });
  const at = (sequence: number) => places[sequence]?.sequence as number;
  const read = contrastive && {
    anchors: contrastive.anchors.map((anchor) => ({ ...anchor, sequence: at(anchor.sequence) })),
    documents: contrastive.documents.map(at),
  };
  return { sequences: distinct, places, contrastive: read };
}

/** Groups of sequences as padded tensors, and the flat position of each sequence's first token among all rows. */
export interface CollatedBatch {
  feeds: Record<string, HostTensor>;
  start: Map<number, number>;
  /** The flat position where each group begins. */
  groupStart: number[];
  /** Padded tokens over all groups. */
  tokens: number;
}

/** Pads each group of sequences by itself; feeds `ids_0`, `ids_1`, ... */
export function collate(
  sequences: readonly TrainingSequence[],
  groups: readonly (readonly number[])[],
  name: (group: number) => string,
): CollatedBatch {
  const feeds: Record<string, HostTensor> = {};
  const start = new Map<number, number>();
  const groupStart: number[] = [];
  let rows = 0;
  for (const [group, members] of groups.entries()) {
    groupStart.push(rows);
    const batch = padRight(
      members.map((member) => (sequences[member] as TrainingSequence).ids),
      0,
    );
    feeds[name(group)] = batch.ids;
    for (const [row, member] of members.entries()) start.set(member, rows + row * batch.length);
    rows += batch.batch * batch.length;
  }
  return { feeds, start, groupStart, tokens: rows };
}

/** Which hidden states a program has to finish, and the row each of them gets. */
export interface Wanted {
  /** Per group, positions among its batch * length: `wanted_0`, `wanted_1`, ... */
  feeds: Record<string, HostTensor>;
  /** From flat positions of the collated batch to rows of the wanted hidden states. */
  row: ReadonlyMap<number, number>;
}

/** The flat `positions`, each once; a group without any gets its first, since no program runs on none. */
export function wantedRows(
  { groupStart, tokens }: CollatedBatch,
  positions: Iterable<number>,
  name: (group: number) => string,
): Wanted {
  const sorted = [...new Set(positions)].sort((a, b) => a - b);
  const feeds: Record<string, HostTensor> = {};
  const row = new Map<number, number>();
  let next = 0;
  for (const [group, start] of groupStart.entries()) {
    const own = sorted.filter((at) => at >= start && at < (groupStart[group + 1] ?? tokens));
    if (own.length === 0) own.push(start);
    for (const at of own) row.set(at, next++);
    feeds[name(group)] = i64(
      own.map((at) => at - start),
      [own.length],
    );
  }
  return { feeds, row };
}

const lengthOf = (sequences: readonly TrainingSequence[], i: number) =>
  (sequences[i] as TrainingSequence).ids.length;

/** Tokens of the longest of some sequences, at least 1. */
export const longest = (sequences: readonly TrainingSequence[], members: readonly number[]): number =>
  Math.max(1, ...members.map((member) => lengthOf(sequences, member)));

/** Indices from the shortest sequence to the longest. */
const byLength = (sequences: readonly TrainingSequence[]): number[] =>
  sequences.map((_, i) => i).sort((a, b) => lengthOf(sequences, a) - lengthOf(sequences, b) || a - b);

const paddedTokens = (lengths: readonly number[], from: number, to: number) =>
  (to - from) * (lengths[to - 1] ?? 0);

/** Sequence indices by length, cut in two where that saves the most padding (one group if it saves under a tenth). */
export function splitByLength(sequences: readonly TrainingSequence[]): number[][] {
  const order = byLength(sequences);
  const lengths = order.map((i) => lengthOf(sequences, i));
  const whole = paddedTokens(lengths, 0, order.length);
  let best = { cut: 0, tokens: whole };
  for (let cut = 1; cut < order.length; cut++) {
    const tokens = paddedTokens(lengths, 0, cut) + paddedTokens(lengths, cut, order.length);
    if (tokens < best.tokens) best = { cut, tokens };
  }
  if (best.cut === 0 || best.tokens > 0.9 * whole) return [order];
  return [order.slice(0, best.cut), order.slice(best.cut)];
}

/** Sequence indices by length, cut into pieces of at most `maxTokens` padded tokens (at least one sequence each). */
export function chunkByLength(sequences: readonly TrainingSequence[], maxTokens: number): number[][] {
  const chunks: number[][] = [];
  let current: number[] = [];
  for (const i of byLength(sequences)) {
    if (current.length > 0 && (current.length + 1) * lengthOf(sequences, i) > maxTokens) {
      chunks.push(current);
      current = [];
    }
    current.push(i);
  }
  if (current.length > 0) chunks.push(current);
  return chunks;
}
