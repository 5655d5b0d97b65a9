/** The curves of a training run for its report. */
import { type Metrics, readRecords, runEventSchema } from '../../run/index.js';
import type { ReportChart } from '../../run/report/index.js';

/** One recorded step of a stage, or an evaluation on validation queries (stage `validation`). */
export interface StageSteps {
  stage: string;
  step: number;
  metrics: Metrics;
}

/** The steps in a run's `events.jsonl`; its evaluations (nDCG@10 after reasoning) have the stage `validation`. */
export async function readSteps(eventsPath: string): Promise<StageSteps[]> {
  const steps: StageSteps[] = [];
  for await (const event of readRecords(eventsPath, runEventSchema)) {
    const { type, stage, step } = event;
    if (type === 'step') steps.push({ stage, step, metrics: event.metrics });
    else if (type === 'evaluation') {
      steps.push({ stage: 'validation', step, metrics: { ndcg: event.metrics['ndcg@10'] ?? null } });
    }
  }
  return steps;
}

/** Charts of the stages that `steps` has something of. */
export function trainingCharts(steps: readonly StageSteps[]): ReportChart[] {
  const series = (stage: string, metric: string, label: string) => ({
    label,
    points: steps
      .filter((entry) => entry.stage === stage)
      .map((entry) => [entry.step, entry.metrics[metric] ?? null] as const),
  });
  const charts: ReportChart[] = [
    {
      title: 'Stage 2: mean reward of the rollouts',
      series: [series('rl', 'reward', 'reward')],
      yDomain: [0, 1],
    },
    {
      title: 'Stage 2: nDCG@10 on validation queries',
      series: [series('validation', 'ndcg', 'reasoned')],
      yDomain: [0, 1],
    },
    {
      title: 'Stage 2: length of the completions',
      series: [series('rl', 'completion_length', 'tokens')],
      yLabel: 'tokens',
    },
    {
      title: 'Stage 2: outcomes of the rollouts',
      series: [
        series('rl', 'embedded', 'embedded'),
        series('rl', 'truncated', 'truncated'),
        series('rl', 'zero_variance', 'zero-variance groups'),
      ],
      yDomain: [0, 1],
    },
    {
      title: 'Stage 1: contrastive losses',
      series: [series('sft', 'info_nce', 'direct'), series('sft', 'info_nce_reasoned', 'after reasoning')],
    },
    {
      title: 'Stage 1: language losses',
      series: [series('sft', 'cross_entropy', 'cross-entropy'), series('sft', 'kl', 'KL to the base')],
    },
    { title: 'Pre-training: next-token loss', series: [series('pretrain', 'loss', 'loss')] },
  ];
  return charts.filter((chart) => chart.series.some(({ points }) => points.length > 0));
}
