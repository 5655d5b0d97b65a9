/**
 * What a term of a loss is: the graph of its values and their weighted sum, and the feeds of its inputs. A term reads
 * labels (tokens that are predicted) or embeddings. Weights are the caller's business (means, masks, normalisation), so
 * that a batch can be run in pieces with the same result.
 */
import { type Graph, type HostTensor, mul, sum, type Value } from 'onnx-grad';
import type { Checkpoint } from '../../checkpoint/index.js';
import type { Anchor, ContrastiveBatch, Label, TrainingSequence } from '../batch.js';

/** Some of the labelled rows on their way through the LM head. */
export interface HeadPart {
  /** Its place among the parts, which is in the names of its inputs. */
  readonly index: number;
  /** [rows, vocabulary]. */
  readonly logits: Value;
  /** int64 [rows]: the tokens that follow. */
  readonly targets: Value;
  /** The name of the number of its rows. */
  readonly size: string;
  /** Logits [n, vocabulary of the base] at n of the states of the base, if the term declared one. */
  base(states: Value): Value;
}

/** A frozen model that labelled rows are compared to. */
export interface BaseModel {
  /**
   * The model, with weights of its own, which are frozen inputs of the same program. Default: what is trained without
   * its adapter, on the same inputs.
   */
  base?: Pick<Checkpoint, 'config' | 'weights'> | undefined;
}

/** What terms on labels are declared with. */
export interface LabelContext {
  readonly graph: Graph;
  /** The input `label_weights` [labels]. */
  weights(): Value;
  /**
   * Declares the base over the input `base_ids` [base_batch, base_length], with hidden states at `rows` of its tokens. A
   * program has one at most.
   */
  base(model: BaseModel, rows: Value): void;
}

/** A term that is part of a program. */
export interface Declared<Input> {
  /** Its values from its input: [rows] from a part of the head, [anchors] from cosines [anchors, documents]. */
  values(input: Input): Value;
  /** Names its outputs and sums up all its values. */
  loss(values: Value): Value;
}

/** A label of a sequence of a step. */
export interface PlacedLabel {
  readonly sequence: number;
  /** Index among the labels of the sequence. */
  readonly at: number;
  readonly label: Label;
}

/** What one run reads of a step. */
export interface LabelRun {
  readonly sequences: readonly TrainingSequence[];
  readonly members: readonly number[];
  /** By part of the head, the label of each row. Undefined: a row that stands for none, since no program runs on none. */
  readonly parts: readonly (readonly (PlacedLabel | undefined)[])[];
  /** Sampling temperature of the tokens. */
  readonly temperature: number;
  /** Whether this is the first update on these tokens, whose log-probabilities are the old ones then. */
  readonly first: boolean;
}

/** What a term gives besides its loss: a number for each label that it reads. */
export interface LabelOutput {
  /** Of the output of the program, [labels]. */
  readonly name: string;
  /** The weights of a sum to be reported. Default: none is. */
  weight?(label: Label): number;
}

export interface LabelTerm {
  readonly outputs: readonly LabelOutput[];
  /** Whether it reads a label. Rows that no term reads do not pass the head. */
  reads(label: Label): boolean;
  declare(context: LabelContext): Declared<HeadPart>;
  /** Feeds of the inputs that it declares. */
  feeds(run: LabelRun): Record<string, HostTensor>;
}

/** What terms on embeddings are declared with. */
export interface ContrastiveContext {
  readonly graph: Graph;
  /** int64 [anchors], columns among the documents. */
  readonly positives: Value;
}

export interface EmbeddingTerm {
  /** The output of the program, [anchors]. */
  readonly output: string;
  declare(context: ContrastiveContext): Declared<Value>;
  feeds(batch: ContrastiveBatch): Record<string, HostTensor>;
}

export const weighted = (weights: Value, values: Value): Value => sum(mul(weights, values));

/** A number for each label of a run, `none` for rows without one. */
export const perLabel = (
  rows: readonly (PlacedLabel | undefined)[],
  value: (label: Label) => number,
  none = 0,
): HostTensor => ({
  dtype: 'float32',
  shape: [rows.length],
  data: Float32Array.from(rows, (row) => (row === undefined ? none : value(row.label))),
});

/** A number for each anchor. */
export const perAnchor = (anchors: readonly Anchor[], value: (anchor: Anchor) => number): HostTensor => ({
  dtype: 'float32',
  shape: [anchors.length],
  data: Float32Array.from(anchors, value),
});
