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
import { type ControlReport, runControls } from '../controls.js';
import type { Stage } from './stage.js';

export interface PolicyEvaluation extends RetrieverRun {
  evaluation: Evaluation<DefaultMetric>;
  /** What other texts do in place of the reasoning; undefined unless it was asked for. */
  controls?: ControlReport;
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

export type EvaluationSettings = Omit<RetrieverOptions, 'signal'> & { seed?: number; controls?: boolean };

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
  options: RetrieverOptions & { seed?: number; controls?: boolean } = {},
): Promise<PolicyEvaluation> {
  const { seed = 0, controls = false, ...retriever } = options;
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
    const found = { ...run, evaluation, completed, ownDocuments: own };
    if (!controls || embedder === undefined) return found;
    const texts = new Map([...collection.queries].map(([id, { text }]) => [id, text]));
    return {
      ...found,
      controls: await runControls(embedder, retrieval, { run, qrels: there, texts }, { seed, ...retriever }),
    };
  } finally {
    await retrieval.dispose();
  }
}
