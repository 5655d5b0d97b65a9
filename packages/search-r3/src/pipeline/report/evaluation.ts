/** What an evaluation found, as plain values, as text and as the files of trec_eval. */
import { join } from 'node:path';
import {
  type AtlasQuery,
  type Collection,
  type Qrels,
  QUERY_KINDS,
  type Rankings,
  type SelfExclusion,
} from '../../dataset/index.js';
import {
  type DefaultMetric,
  describeAnalysis,
  type Evaluation,
  type Interval,
  type RetrieverSystem,
  renderEvaluation,
  renderTable,
  saveTrecQrels,
  saveTrecRun,
  type TextAnalysis,
} from '../../evaluate/index.js';
import { describeControls } from '../controls.js';
import type { PolicyEvaluation } from '../stages/evaluate.js';

/** What an evaluation found, as it is written for machines. */
export interface EvaluationSummary {
  /** Null where BM25 alone was evaluated, without one. */
  model: string | null;
  data: string;
  split: string;
  queries: number;
  documents: number;
  systems: {
    system: string;
    queries: number;
    scores: Record<DefaultMetric, Interval & { mean: number }>;
  }[];
  comparisons: Evaluation<DefaultMetric>['comparisons'];
  /** Share of the dense score in each hybrid, and the split it was tuned on, of which so many queries were used. */
  fusion: { weights: Record<string, number>; tunedOn: string; queries: number } | null;
  /**
   * Queries that are documents: how many were left out of their own ranking, of these how many are judged with
   * themselves, and the setting.
   */
  ownDocuments: { excludeSelf: SelfExclusion; queries: number; judged: number };
  /** By what texts were cut into terms; null without BM25. */
  analysis: TextAnalysis | null;
  /** Share of the reasoned queries whose reasoning the model ended. */
  completed: number | null;
  /** Share of the reasoned vector in the fused one; null where no system fuses. */
  reasonedShare: number | null;
  /** What other texts do in place of the reasoning; null unless it was asked for. */
  controls: PolicyEvaluation['controls'] | null;
  /** Texts that were cut to fit. */
  truncated: PolicyEvaluation['truncated'];
  /** nDCG@10 by kind of query, in the built-in world. */
  kinds: { kind: string; queries: number; scores: Record<string, number> }[] | null;
}

export interface FinishedEvaluation {
  summary: EvaluationSummary;
  qrels: Qrels;
  rankings: Partial<Record<RetrieverSystem, Rankings>>;
  text: string;
}

/** What was evaluated, as the settings named it. */
export interface Evaluated {
  model: string | undefined;
  data: string;
  split: string;
  excludeSelf: SelfExclusion;
  collection: Collection;
  qrels: Qrels;
  fusion: EvaluationSummary['fusion'];
}

/** An evaluation as plain values and as text. */
export function finishedEvaluation(
  { model, data, split, excludeSelf, collection, qrels, fusion }: Evaluated,
  result: PolicyEvaluation,
): FinishedEvaluation {
  const own = result.ownDocuments;
  const summary: EvaluationSummary = {
    model: model ?? null,
    data,
    split,
    queries: qrels.size,
    documents: collection.corpus.length,
    systems: result.evaluation.systems.map(({ system, queries, scores }) => ({
      system,
      queries,
      scores: Object.fromEntries(
        Object.entries(scores).map(([metric, { mean, interval }]) => [metric, { mean, ...interval }]),
      ) as EvaluationSummary['systems'][number]['scores'],
    })),
    comparisons: result.evaluation.comparisons,
    fusion,
    ownDocuments: {
      excludeSelf,
      queries: own.length,
      judged: own.filter((id) => qrels.get(id)?.has(id)).length,
    },
    analysis: result.analysis ?? null,
    completed: result.completed,
    reasonedShare: result.reasonedShare ?? null,
    controls: result.controls ?? null,
    truncated: result.truncated,
    kinds: byKind(collection, result.evaluation),
  };
  return { summary, qrels, rankings: result.rankings, text: describe(summary, result.evaluation) };
}

/** nDCG@10 by kind of query; null where the collection is not the built-in world. */
function byKind(collection: Collection, { systems }: Evaluation<DefaultMetric>): EvaluationSummary['kinds'] {
  const queries = (collection as { atlas?: Map<string, AtlasQuery> }).atlas;
  if (queries === undefined) return null;
  return QUERY_KINDS.map((kind) => {
    let count = 0;
    const scores = systems.map(({ system, scores }) => {
      const own = [...scores['ndcg@10'].perQuery].filter(([id]) => queries.get(id)?.kind === kind);
      count = own.length;
      return [system, own.reduce((sum, [, score]) => sum + score, 0) / Math.max(1, own.length)] as const;
    });
    return { kind, queries: count, scores: Object.fromEntries(scores) };
  });
}

function describe(summary: EvaluationSummary, evaluation: Evaluation<DefaultMetric>): string {
  const { model, data, split, documents, fusion, completed, truncated, kinds, queries } = summary;
  const { ownDocuments: own, analysis } = summary;
  // All metrics of all pairs would hide what matters; the JSON has them.
  const comparisons = evaluation.comparisons.filter(({ metric }) => metric === 'ndcg@10');
  const notes = [
    ...(fusion === null
      ? []
      : Object.entries(fusion.weights).map(
          ([system, weight]) =>
            `${system}: ${Number((1 - weight).toFixed(6))} BM25 + ${weight} dense, weights tuned on the split ${fusion.tunedOn} (queries: ${fusion.queries})`,
        )),
    ...(summary.reasonedShare === null
      ? []
      : [
          `fused: ${Number((1 - summary.reasonedShare).toFixed(6))} direct + ${summary.reasonedShare} reasoned`,
        ]),
    ...(analysis === null ? [] : [`terms of BM25: ${describeAnalysis(analysis)}`]),
    ...(own.queries === 0
      ? []
      : [
          `queries that are documents: ${own.queries} of ${queries}, each left out of its own ranking ` +
            `(excludeSelf ${own.excludeSelf})${own.judged === 0 ? '' : `; ${own.judged} of them are judged with themselves`}`,
        ]),
    ...(completed === null
      ? []
      : [
          `reasoning ended by the model itself: ${(100 * completed).toFixed(1)} %; the embed token was appended to the rest`,
        ]),
    ...Object.entries(truncated).map(([what, cut]) => {
      const of = what === 'documents' ? `${documents} documents` : `${queries} queries, ${what}`;
      return `cut to fit: ${cut} of ${of}`;
    }),
  ];
  const systems = evaluation.systems.map(({ system }) => system);
  const table =
    kinds === null
      ? ''
      : `\n${renderTable([
          ['nDCG@10 by kind of query', 'queries', ...systems],
          ...kinds.map(({ kind, queries: count, scores }) => [
            kind,
            String(count),
            ...systems.map((system) => (scores[system] ?? 0).toFixed(3)),
          ]),
        ])}`;
  return `${model ?? 'BM25'} on ${data}, split ${split}, ${documents} documents\n\n${renderEvaluation({ ...evaluation, comparisons })}\n${notes.join('\n')}\n${table}${summary.controls ? `\n${describeControls(summary.controls)}` : ''}`;
}

/** Writes `qrels.trec` and a run `<system>.trec` per system, as trec_eval reads them. The paths written. */
export async function saveRuns(
  folder: string,
  { qrels, rankings }: Pick<FinishedEvaluation, 'qrels' | 'rankings'>,
): Promise<string[]> {
  const paths = [join(folder, 'qrels.trec')];
  await saveTrecQrels(join(folder, 'qrels.trec'), qrels);
  for (const [system, ranking] of Object.entries(rankings)) {
    const path = join(folder, `${system}.trec`);
    await saveTrecRun(path, { tag: `search-r3-${system}`, rankings: ranking });
    paths.push(path);
  }
  return paths;
}
