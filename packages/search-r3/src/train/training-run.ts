/** One run of a training program: its feeds for some sequences of a step, and the way back from its results to them. */
import { type Dim, floats, type HostTensor, i64 } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { ropeTables } from '../decoder/index.js';
import {
  type CollatedBatch,
  collate,
  longest,
  type TrainingSequence,
  type Wanted,
  wantedRows,
} from './batch.js';
import type { DropoutNoise } from './dropout-noise.js';
import { inParts } from './head.js';
import { idsName, tokensOf, wantedName } from './program.js';
import { type LabelRun, type LabelTerm, type PlacedLabel, perLabel } from './terms/term.js';

/** What the terms on labels gave, collected over the runs of a step. */
export class LabelResults {
  /** By output, by sequence, per label. */
  readonly values: Record<string, Float32Array[]> = {};
  /** By output that has weights: their weighted sum. */
  readonly sums: Record<string, number> = {};

  /** Adds the results of a run. */
  add(
    terms: readonly LabelTerm[],
    run: LabelRun,
    results: Readonly<Record<string, HostTensor | undefined>>,
  ): void {
    const rows = run.parts.flat();
    for (const { outputs, reads } of terms) {
      for (const { name, weight } of outputs) {
        const found = floats(results[name]);
        this.values[name] ??= run.sequences.map(({ labels }) => new Float32Array(labels.length));
        const values = this.values[name];
        let sum = 0;
        for (const [row, placed] of rows.entries()) {
          if (placed === undefined || !reads(placed.label)) continue;
          const value = found[row] as number;
          (values[placed.sequence] as Float32Array)[placed.at] = value;
          if (weight !== undefined) sum += weight(placed.label) * value;
        }
        if (weight !== undefined) this.sums[name] = (this.sums[name] ?? 0) + sum;
      }
    }
  }
}

/** The labels of some sequences that a term reads, in their order. */
export const placedLabels = (
  sequences: readonly TrainingSequence[],
  members: readonly number[],
  terms: readonly LabelTerm[],
): PlacedLabel[] =>
  members.flatMap((sequence) =>
    (sequences[sequence] as TrainingSequence).labels.flatMap((label, at) =>
      terms.some((term) => term.reads(label)) ? [{ sequence, at, label }] : [],
    ),
  );

export interface RunOptions {
  config: ModelConfig;
  terms: readonly LabelTerm[];
  /** Parts of the head; 0 for a program without terms on labels. */
  parts: number;
  temperature: number;
  first: boolean;
  /** Undefined: without dropout. */
  noise?: DropoutNoise | undefined;
}

export class TrainingRun {
  readonly feeds: Record<string, HostTensor>;
  readonly labels: LabelRun;
  /** Rows of `embeddings`; at least one, since no program runs on none. */
  readonly embeds: number;
  readonly #embedding = new Map<number, number>();

  constructor(
    sequences: readonly TrainingSequence[],
    groups: readonly (readonly number[])[],
    { config, terms, parts, temperature, first, noise }: RunOptions,
  ) {
    const collated = collate(sequences, groups, idsName);
    const members = groups.flat();
    const at = (member: number, position: number) => (collated.start.get(member) as number) + position;
    const embedded: number[] = [];
    for (const member of members) {
      const { embed } = sequences[member] as TrainingSequence;
      if (embed === undefined) continue;
      this.#embedding.set(member, embedded.length);
      embedded.push(at(member, embed));
    }
    const placed = parts === 0 ? [] : placedLabels(sequences, members, terms);
    const labelled = placed.map(({ sequence, label }) => at(sequence, label.position));
    const wanted = wantedRows(collated, [...labelled, ...embedded], wantedName);
    const rowsOf = (positions: readonly number[]) =>
      positions.length === 0 ? [0] : positions.map((position) => wanted.row.get(position) as number);
    const embedRows = rowsOf(embedded);
    this.embeds = embedRows.length;
    this.labels = {
      sequences,
      members,
      parts: inParts<PlacedLabel | undefined>(placed, parts, undefined),
      temperature,
      first,
    };
    this.feeds = {
      ...collated.feeds,
      ...wanted.feeds,
      ...ropeTables(config, longest(sequences, members)),
      embed_rows: i64(embedRows, [embedRows.length]),
      label_weights: perLabel(this.labels.parts.flat(), ({ weight }) => weight),
    };
    for (const [index, part] of this.labels.parts.entries()) {
      const rows = part.map((row) =>
        row === undefined ? 0 : (wanted.row.get(at(row.sequence, row.label.position)) as number),
      );
      const targets = part.map((row) =>
        row === undefined ? 0 : (sequences[row.sequence]?.ids[row.label.position + 1] as number),
      );
      this.feeds[`label_rows_${index}`] = i64(rows, [rows.length]);
      this.feeds[`label_targets_${index}`] = i64(targets, [targets.length]);
    }
    if (noise !== undefined) {
      Object.assign(this.feeds, noise.feeds(sequences, collated, rowsOfGroups(collated, wanted)));
    }
    for (const term of parts === 0 ? [] : terms) Object.assign(this.feeds, term.feeds(this.labels));
  }

  /** The row of a sequence's embedding. */
  embedding(sequence: number): number {
    const row = this.#embedding.get(sequence);
    if (row === undefined) throw new Error(`internal: sequence ${sequence} has no embedding here`);
    return row;
  }
}

/** Flat positions of the rows of each group's matrices: all its tokens, and those whose hidden states are wanted. */
function rowsOfGroups({ groupStart, tokens }: CollatedBatch, { row }: Wanted): Map<Dim, number[]> {
  const rows = new Map<Dim, number[]>();
  for (const [group, start] of groupStart.entries()) {
    const end = groupStart[group + 1] ?? tokens;
    rows.set(
      tokensOf(group),
      Array.from({ length: end - start }, (_, i) => start + i),
    );
    rows.set(
      wantedName(group),
      [...row.keys()].filter((at) => at >= start && at < end),
    );
  }
  return rows;
}
