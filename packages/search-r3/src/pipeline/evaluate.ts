/** Evaluation of a policy on a split of a collection: the rankings of all systems, and what they are worth. */
import type { Collection, Qrels } from '../dataset/index.js';
import type { Policy } from '../decoder/index.js';
import { Embedder } from '../embed/index.js';
import {
  type DefaultMetric,
  type Evaluation,
  evaluateRankings,
  RetrieverEvaluation,
  type RetrieverOptions,
  type RetrieverRun,
} from '../evaluate/index.js';
import { InputError } from '../run/index.js';

export interface PolicyEvaluation extends RetrieverRun {
  evaluation: Evaluation<DefaultMetric>;
  /** Share of reasonings that the model ended with the embed token. */
  completed: number | null;
  /** The queries whose own document was left out of their ranking, among those evaluated. */
  ownDocuments: string[];
}

/** The judgements of a split. @throws InputError naming the splits there are. */
export function splitOf(collection: Collection, split: string): Qrels {
  const qrels = collection.qrels.get(split);
  if (qrels !== undefined) return qrels;
  const found = [...collection.qrels.keys()].join(', ') || 'no splits';
  const remedy = `Its judgements are read from qrels/${split}.tsv.`;
  throw new InputError({
    source: 'collection',
    field: 'split',
    expected: `the split ${split}`,
    found,
    remedy,
  });
}

/**
 * Runs and compares the systems on the judged queries of `qrels`. A judged query that the collection does not have (see
 * `LoadBeirOptions.allowMissing`) scores 0, as in trec_eval.
 * @param policy needed by every system but `bm25`.
 */
export async function evaluatePolicy(
  policy: Policy | undefined,
  collection: Collection,
  qrels: Qrels,
  options: RetrieverOptions & { seed?: number } = {},
): Promise<PolicyEvaluation> {
  const { seed = 0, ...retriever } = options;
  const embedder = policy === undefined ? undefined : await Embedder.create(policy);
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
    await retrieval.dispose().finally(() => embedder?.dispose());
  }
}
