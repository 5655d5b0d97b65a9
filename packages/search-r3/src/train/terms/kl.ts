/**
 * KL(base || policy) over the first `vocabulary` columns, both renormalised there: a new token is none of the base's
 * business. The base reads only sequences that have a label with a KL weight.
 */
import { exp, i64, logSoftmax, mul, slice, stopGradient, sub, sum, type Value } from 'onnx-grad';
import { collate, type Label } from '../batch.js';
import { type BaseModel, type LabelTerm, perLabel, weighted } from './term.js';

export interface KlOptions extends BaseModel {
  /** The number of tokens that the base knows. */
  vocabulary: number;
}

const klWeight = (label: Label): number => label.klWeight ?? 0;
const reads = (label: Label): boolean => klWeight(label) !== 0;

/** Output `kl` [labels]. */
export const klTerm = ({ vocabulary, ...model }: KlOptions): LabelTerm => ({
  outputs: [{ name: 'kl', weight: klWeight }],
  reads,
  declare(context) {
    const { graph } = context;
    context.base(model, graph.input('base_rows', 'int64', ['base_states']));
    const columns = (x: Value) => (x.shape[1] === vocabulary ? x : slice(x, 1, 0, vocabulary));
    return {
      values({ index, logits, size, base }) {
        const states = graph.input(`base_states_${index}`, 'int64', [size]);
        const logBase = stopGradient(logSoftmax(columns(base(states))));
        const logPolicy = logSoftmax(columns(logits));
        return sum(mul(exp(logBase), sub(logBase, logPolicy)), [-1]);
      },
      loss(losses) {
        graph.output('kl', losses);
        return weighted(graph.input('kl_weights', 'float32', ['labels']), losses);
      },
    };
  },
  feeds({ sequences, members, parts }) {
    const chosen = members.filter((member) => sequences[member]?.labels.some(reads));
    const base = collate(sequences, [chosen.length > 0 ? chosen : members.slice(0, 1)], () => 'base_ids');
    const rows: number[] = [];
    const feeds = parts.map((part, index) => {
      // The other rows are compared to any state; they have no weight.
      const states = part.map((placed) => {
        if (placed === undefined || !reads(placed.label)) return 0;
        return rows.push((base.start.get(placed.sequence) as number) + placed.label.position) - 1;
      });
      return [`base_states_${index}`, i64(states, [states.length])] as const;
    });
    if (rows.length === 0) rows.push(0);
    return {
      ...base.feeds,
      ...Object.fromEntries(feeds),
      base_rows: i64(rows, [rows.length]),
      kl_weights: perLabel(parts.flat(), klWeight),
    };
  },
});
