/**
 * KL(base || policy) over the first `vocabulary` columns, both renormalised there: a new token is none of the base's
 * business. The base reads only sequences that have a label with a KL weight.
 */
import { exp, gatherRows, i64, logSoftmax, mul, slice, stopGradient, sub, sum, type Value } from 'onnx-grad';
import { collate } from '../batch.js';
import {
  type BaseModel,
  type LabelRun,
  type LabelTerm,
  type PlacedLabel,
  perLabel,
  weighted,
} from './term.js';

export interface KlOptions extends BaseModel {
  /** The number of tokens that the base knows. */
  vocabulary: number;
}

const reads = ({ klWeight = 0 }: PlacedLabel['label']) => klWeight !== 0;

/** By part, the rows with a KL weight; one that stands for none where there are none. */
function rowsByPart({ parts }: LabelRun): { row: number; placed: PlacedLabel | undefined }[][] {
  return parts.map((part) => {
    const rows = part.flatMap((placed, row) => (placed && reads(placed.label) ? [{ row, placed }] : []));
    return rows.length > 0 ? rows : [{ row: 0, placed: undefined }];
  });
}

/** Output `kl` [kl_rows]. */
export const klTerm = ({ vocabulary, ...model }: KlOptions): LabelTerm => ({
  outputs: [{ name: 'kl', weight: ({ klWeight = 0 }) => klWeight }],
  rows: 'kl_rows',
  reads,
  declare(context) {
    const { graph } = context;
    const base = context.base(model, graph.input('base_rows', 'int64', ['kl_rows']));
    const columns = (x: Value) => (x.shape[1] === vocabulary ? x : slice(x, 1, 0, vocabulary));
    return {
      values({ index, logits, dim }) {
        const indices = (name: string) => graph.input(`${name}_${index}`, 'int64', [dim('kl_rows')]);
        const frozen = base.logits(gatherRows(base.states, indices('kl_states')));
        const logBase = stopGradient(logSoftmax(columns(frozen)));
        const logPolicy = logSoftmax(columns(gatherRows(logits, indices('kl_labels'))));
        return sum(mul(exp(logBase), sub(logBase, logPolicy)), [-1]);
      },
      loss(losses) {
        graph.output('kl', losses);
        return weighted(graph.input('kl_weights', 'float32', ['kl_rows']), losses);
      },
    };
  },
  placed: (run) => rowsByPart(run).flatMap((rows) => rows.map(({ placed }) => placed)),
  feeds(run) {
    const { sequences, members } = run;
    const parts = rowsByPart(run);
    const chosen = members.filter((member) => sequences[member]?.labels.some(reads));
    const base = collate(sequences, [chosen.length > 0 ? chosen : members.slice(0, 1)], () => 'base_ids');
    const placed = parts.flatMap((rows) => rows.map((row) => row.placed));
    const at = placed.map((row) =>
      row === undefined ? 0 : (base.start.get(row.sequence) as number) + row.label.position,
    );
    const feeds = {
      ...base.feeds,
      base_rows: i64(at, [at.length]),
      kl_weights: perLabel(placed, ({ klWeight = 0 }) => klWeight),
    };
    let first = 0;
    const indices = parts.flatMap((rows, index) => {
      const states = rows.map((_, i) => first + i);
      first += rows.length;
      return [
        [`kl_states_${index}`, i64(states, [rows.length])] as const,
        [
          `kl_labels_${index}`,
          i64(
            rows.map(({ row }) => row),
            [rows.length],
          ),
        ] as const,
      ];
    });
    return { ...feeds, ...Object.fromEntries(indices) };
  },
});
