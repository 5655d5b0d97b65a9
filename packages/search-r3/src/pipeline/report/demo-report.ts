/** The report of the demonstration: scores, curves, and what the model wrote before and after stage 2. */
import type { Collection, Qrels } from '../../dataset/index.js';
import { rankDocuments } from '../../evaluate/index.js';
import type { Report, ReportCompletion, ReportSample } from '../../run/report/index.js';
import type { PolicyEvaluation } from '../stages/evaluate.js';
import { type StageSteps, trainingCharts } from './curves.js';
import { wholeCharacters } from './whole-characters.js';

interface Summary {
  systems: readonly { system: string; ndcg10: number; interval: { low: number; high: number } }[];
  gain: number;
  p: number;
  queries: number;
  seconds: number;
}

/** How many queries are shown with their reasoning. */
const SAMPLES = 8;

export function demoReport(
  summary: Summary,
  steps: readonly StageSteps[],
  collection: Collection,
  before: PolicyEvaluation,
  after: PolicyEvaluation,
  test: Qrels,
): Report {
  const { gain, p, queries, seconds } = summary;
  return {
    title: 'Search-R3 on the built-in world',
    summary:
      `A language model was taught to think before it embeds, in ${Math.round(seconds)} seconds. On ${queries} ` +
      `held-out queries, about people that no training query mentions, stage 2 changed nDCG@10 of the reasoned ` +
      `embedding by ${gain.toFixed(3)} (p = ${p.toPrecision(2)}, paired randomisation).`,
    tables: [
      {
        title: 'nDCG@10 on held-out queries',
        columns: ['system', 'nDCG@10', '95 % interval'],
        rows: summary.systems.map(({ system, ndcg10, interval }) => [
          system,
          ndcg10.toFixed(3),
          `${interval.low.toFixed(3)} to ${interval.high.toFixed(3)}`,
        ]),
      },
    ],
    charts: trainingCharts(steps),
    samples: samples(collection, before, after, test),
    sampleLabels: ['after stage 1', 'after stage 2'],
  };
}

/** Queries spread over the test set, with the reasoning and the rank of the right document on both sides. */
function samples(
  collection: Collection,
  before: PolicyEvaluation,
  after: PolicyEvaluation,
  test: Qrels,
): ReportSample[] {
  const ids = [...test.keys()];
  const every = Math.max(1, Math.floor(ids.length / SAMPLES));
  return ids
    .filter((_, i) => i % every === 0)
    .slice(0, SAMPLES)
    .map((id) => ({
      query: collection.queries.get(id)?.text ?? id,
      before: completion(before, id, test),
      after: completion(after, id, test),
    }));
}

function completion({ reasoned, rankings }: PolicyEvaluation, id: string, test: Qrels): ReportCompletion {
  const ranking = rankDocuments(rankings.reasoned?.get(id) ?? new Map());
  const at = ranking.findIndex((hit) => (test.get(id)?.get(hit.id) ?? 0) > 0);
  return {
    reasoning: wholeCharacters(reasoned.get(id)?.reasoning ?? ''),
    rank: at < 0 ? null : at + 1,
    reward: at < 0 ? 0 : 1 / Math.log2(at + 2),
  };
}
