/**
 * The terms on labels as a graph. The labelled rows pass the LM head in parts: the logits of a part are computed again in
 * the backward pass, so that those of all rows, which may be larger than everything else, never exist at once.
 */
import { add, concat, type Graph, gatherRows, type Value } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import {
  attendSequences,
  type DeclaredWeights,
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

/**
 * In how many parts `rows` pass the head: a power of two, so that steps of like size share a program.
 * @param bytes most bytes of the logits of a part; default 64 MiB.
 */
export function headParts(rows: number, vocabulary: number, bytes = HEAD_BYTES): number {
  const most = Math.max(1, Math.floor(bytes / (4 * vocabulary)));
  return 2 ** Math.ceil(Math.log2(Math.max(1, rows / most)));
}

/** `values` in so many parts, in their order, whose sizes differ by one at most. */
export const inParts = <T>(values: readonly T[], parts: number): T[][] =>
  Array.from({ length: parts }, (_, i) =>
    values.slice(Math.floor((i * values.length) / parts), Math.floor(((i + 1) * values.length) / parts)),
  );

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
  const { graph, declared, hidden, parts } = inputs;
  const context = new Context(inputs);
  const terms = labelTerms(inputs.objective).map((term) => ({ term, declared: term.declare(context) }));
  const values = Array.from({ length: parts }, (_, index) => {
    const dim = (whole: string) => (parts === 1 ? whole : `${whole}_${index}`);
    const indices = (name: string) => graph.input(`${name}_${index}`, 'int64', [dim('labels')]);
    const rows = indices('label_rows');
    const targets = indices('label_targets');
    const build = () => {
      const logits = declared.weights.logits(gatherRows(hidden, rows));
      return terms.map((own) => own.declared.values({ index, logits, targets, dim }));
    };
    return parts === 1 ? build() : graph.checkpoint([hidden, ...context.states], build);
  });
  const losses = terms.map(({ term, declared: own }, i) => {
    const all = values.map((part) => part[i] as Value);
    return own.loss(parts === 1 ? (all[0] as Value) : concat(all, 0, term.rows));
  });
  return losses.reduce((total, loss) => add(total, loss));
}

class Context implements LabelContext {
  readonly graph: Graph;
  /** Hidden states of the base, if a term reads them. */
  readonly states: Value[] = [];
  readonly #inputs: HeadInputs;
  #weights: Value | undefined;

  constructor(inputs: HeadInputs) {
    this.graph = inputs.graph;
    this.#inputs = inputs;
  }

  weights = (): Value => {
    this.#weights ??= this.graph.input('label_weights', 'float32', ['labels']);
    return this.#weights;
  };

  base = (model: BaseModel, rows: Value): ReturnType<LabelContext['base']> => {
    const { config, weights } = this.#baseWeights(model);
    const ids = this.graph.input('base_ids', 'int64', ['base_batch', 'base_length']);
    const attend = attendSequences(config, ids, this.#inputs.rope);
    const states = decoder({ config, weights, ids, attend, wanted: rows });
    this.states.push(states);
    return { states, logits: (x) => weights.logits(x) };
  };

  /** A model of its own, or the frozen part of the one that is trained. */
  #baseWeights({ base }: BaseModel): Pick<Parameters<typeof decoder>[0], 'config' | 'weights'> {
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
