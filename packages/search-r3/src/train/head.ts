/**
 * The terms on labels as a graph. The labelled rows pass the LM head in parts, one after the other: the logits of a part
 * are computed again in the backward pass, so that those of all rows, which may be larger than everything else, never
 * exist at once.
 */
import { add, barrier, concat, type Graph, gatherRows, inOrder, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import {
  attendSequences,
  type DeclaredWeights,
  type DecoderWeights,
  decoder,
  floatWeights,
  lookupIn,
  parameterInputs,
  type RopeInputs,
} from '../decoder/index.js';
import { labelTerms, type Objective } from './terms/index.js';
import type { BaseModel, LabelContext } from './terms/term.js';

/** The prefix of the parameters of a base with weights of its own. */
export const BASE_PREFIX = 'base.';

/** Bytes of logits that one part may take. */
export const HEAD_BYTES = 1 << 26;

/** How many rows have logits of at most so many bytes; default 64 MiB. */
export const headRows = (vocabulary: number, bytes = HEAD_BYTES): number =>
  Math.max(1, Math.floor(bytes / (4 * vocabulary)));

/**
 * In how many parts `rows` pass the head: a power of two, so that steps of like size share a program.
 * @param bytes most bytes of the logits of a part.
 */
export const headParts = (rows: number, vocabulary: number, bytes?: number): number =>
  2 ** Math.ceil(Math.log2(Math.max(1, rows / headRows(vocabulary, bytes))));

/** `values` in so many parts of equal size, in their order; what is left of the last ones is filled up. */
export function inParts<T>(values: readonly T[], parts: number, filling: T): T[][] {
  const size = Math.max(1, Math.ceil(values.length / parts));
  return Array.from({ length: parts }, (_, i) =>
    Array.from({ length: size }, (__, k) => values[i * size + k] ?? filling),
  );
}

export interface HeadInputs {
  graph: Graph;
  config: ModelConfig;
  declared: DeclaredWeights;
  rope: RopeInputs;
  /** Hidden states [wanted, hidden]. */
  hidden: Value;
  objective: Objective;
  parts: number;
}

/**
 * The weighted sum of the terms on labels. Inputs by part: `label_rows_0` (rows of `hidden`), `label_targets_0`, ...;
 * outputs and further inputs are those of the terms.
 */
export function labelLoss(inputs: HeadInputs): Value {
  const { graph, declared, parts } = inputs;
  const context = new Context(inputs);
  const terms = labelTerms(inputs.objective).map((term) => term.declare(context));
  const values: Value[][] = terms.map(() => []);
  // One symbol for all parts: ONNX Runtime plans one buffer for all that is as large. It would otherwise keep that of each
  // part for its recomputation.
  const size = parts === 1 ? 'labels' : 'part_labels';
  let { hidden } = inputs;
  let base = context.states;
  for (let index = 0; index < parts; index++) {
    const rows = graph.input(`label_rows_${index}`, 'int64', [size]);
    const targets = graph.input(`label_targets_${index}`, 'int64', [size]);
    const build = (): Value[] => {
      const logits = declared.weights.logits(gatherRows(hidden, rows));
      const part = { index, size, logits, targets, base: (at: Value) => context.logits(base, at) };
      return terms.map((term) => term.values(part));
    };
    const found = parts === 1 ? build() : graph.checkpoint(base ? [hidden, base] : [hidden], build);
    for (const [i, value] of found.entries()) {
      const last = index === parts - 1;
      const [done, next] = last ? [value, hidden] : inOrder(value, hidden);
      values[i]?.push(done);
      hidden = next;
      if (base !== undefined && !last) base = barrier(base, value);
    }
  }
  const losses = terms.map((term, i) => {
    const all = values[i] as Value[];
    return term.loss(parts === 1 ? (all[0] as Value) : concat(all, 0, 'labels'));
  });
  return losses.reduce((total, loss) => add(total, loss));
}

class Context implements LabelContext {
  readonly graph: Graph;
  /** Hidden states of the base, if a term reads it. */
  states: Value | undefined;
  readonly #inputs: HeadInputs;
  #weights: Value | undefined;
  #base: DecoderWeights | undefined;

  constructor(inputs: HeadInputs) {
    this.graph = inputs.graph;
    this.#inputs = inputs;
  }

  weights = (): Value => {
    this.#weights ??= this.graph.input('label_weights', 'float32', ['labels']);
    return this.#weights;
  };

  base = (model: BaseModel, rows: Value): void => {
    const { config, weights } = this.#baseWeights(model);
    const ids = this.graph.input('base_ids', 'int64', ['base_batch', 'base_length']);
    const attend = attendSequences(config, ids, this.#inputs.rope);
    this.states = decoder({ config, weights, ids, attend, wanted: rows });
    this.#base = weights;
  };

  /** Logits of the base at some of its states. */
  logits(states: Value | undefined, at: Value): Value {
    if (this.#base === undefined || states === undefined)
      throw new Error('internal: no term declared a base');
    return this.#base.logits(gatherRows(states, at));
  }

  /** A model of its own, or the frozen part of the one that is trained. */
  #baseWeights({ base }: BaseModel): { config: ModelConfig; weights: DecoderWeights } {
    const { config, declared } = this.#inputs;
    if (base !== undefined) {
      const parameters = parameterInputs(this.graph, base.config, BASE_PREFIX);
      const weights = floatWeights(base.config, lookupIn(parameters), { trained: true });
      return { config: base.config, weights };
    }
    if (declared.base !== undefined) return { config, weights: declared.base };
    throw new RangeError('training program: all weights are trained, so the KL term needs a base of its own');
  }
}
