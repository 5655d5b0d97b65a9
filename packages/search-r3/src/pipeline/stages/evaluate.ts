/** Evaluation of a model on judged queries: the rankings of all systems, and their scores. */
import type { Collection, Qrels } from '../../dataset/index.js';
import { Embedder } from '../../embed/index.js';
import {
  type DefaultMetric,
  type Evaluation,
  evaluateRankings,
  RetrieverEvaluation,
  type RetrieverOptions,
  type RetrieverRun,
} from '../../evaluate/index.js';
import type { Model } from '../../model/index.js';
import type { Stage } from './stage.js';

export interface PolicyEvaluation extends RetrieverRun {
  evaluation: Evaluation<DefaultMetric>;
  /** Share of reasonings that the model ended with the embed token. */
  completed: number | null;
  /** The queries whose own document was left out of their ranking, among those evaluated. */
  ownDocuments: string[];
}

export interface EvaluateInput {
  /** Needed by every system but `bm25`. The stage disposes of it. */
  policy: Model | undefined;
  collection: Collection;
  /** The judgements that count; see `evaluatePolicy`. */
  qrels: Qrels;
}

export type EvaluationSettings = Omit<RetrieverOptions, 'signal'> & { seed?: number };

export const evaluateStage: Stage<EvaluationSettings, EvaluateInput, PolicyEvaluation> = {
  name: 'evaluate',
  inputs: ['policy', 'collection', 'qrels'],
  outputs: [],
  run: (settings, { policy, collection, qrels }, { signal }) =>
    evaluatePolicy(policy, collection, qrels, { ...settings, ...(signal && { signal }) }).finally(() =>
      policy?.dispose(),
    ),
};

/**
 * Runs and compares the systems on the judged queries of `qrels`. A judged query that the collection does not have (see
 * `LoadBeirOptions.allowMissing`) scores 0, as in trec_eval.
 * @param model needed by every system but `bm25`.
 */
export async function evaluatePolicy(
  model: Model | undefined,
  collection: Collection,
  qrels: Qrels,
  options: RetrieverOptions & { seed?: number } = {},
): Promise<PolicyEvaluation> {
  const { seed = 0, ...retriever } = options;
  const embedder = model === undefined ? undefined : new Embedder(model);
  const retrieval = new RetrieverEvaluation(embedder, collection, retriever);
  try {
    const there = new Map([...qrels].filter(([id]) => collection.queries.has(id)));
    const run = await retrieval.run(there);
    const evaluation = evaluateRankings(qrels, run.rankings, { seed });
    const reasoned = [...run.reasoned.values()];
    const completed =
      reasoned.length === 0
        ? null
        : reasoned.filter((embedding) => embedding.completed).length / reasoned.length;
    const own = [...qrels.keys()].filter((id) => retrieval.ownDocuments.has(id));
    return { ...run, evaluation, completed, ownDocuments: own };
  } finally {
    await retrieval.dispose();
  }
}
