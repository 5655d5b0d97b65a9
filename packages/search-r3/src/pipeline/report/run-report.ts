/** The report of a training run: results of its stages, curves, and completions early and late in stage 2. */
import { type CompletionRecord, completionSchema, readRecords, readRunFolder } from '../../run/index.js';
import type { Report, ReportSample, ReportTable } from '../../run/report/index.js';
import type { StageName, StageResult } from '../result.js';
import { readSteps, trainingCharts } from './curves.js';
import { wholeCharacters } from './whole-characters.js';

const TITLES: Record<StageName, string> = {
  pretrain: 'pre-training',
  sft: 'stage 1 (SFT)',
  rl: 'stage 2 (RL)',
};

/** How many queries are shown with their completions. */
const SAMPLES = 8;

/** The report of the run at `folder`, made of these stages. */
export async function runReport(
  folder: string,
  config: Record<string, unknown>,
  results: readonly StageResult[],
): Promise<Report> {
  const runs = await Promise.all(results.map(({ run }) => readRunFolder(run)));
  const steps = await Promise.all(runs.map(({ eventsPath }) => readSteps(eventsPath)));
  const completions = await Promise.all(runs.map(({ completionsPath }) => readSamples(completionsPath)));
  const stages = results.map(({ stage, steps: count }) => `${TITLES[stage]}, ${count} steps`).join('; ');
  return {
    title: `Search-R3: ${folder}`,
    summary: `Data ${String(config.data)}, seed ${String(config.seed)}: ${stages}.`,
    tables: [...validationTable(results), ...results.map(metricsTable)],
    charts: trainingCharts(steps.flat()),
    samples: completions.flat(),
    sampleLabels: ['early in stage 2', 'late in stage 2'],
  };
}

function validationTable(results: readonly StageResult[]): ReportTable[] {
  const rows = results.flatMap(({ stage, validation }) =>
    Object.entries(validation ?? {}).map(([system, score]) => [`${system}, after ${TITLES[stage]}`, score]),
  );
  const title = 'nDCG@10 on validation queries';
  return rows.length === 0 ? [] : [{ title, columns: ['system', 'nDCG@10'], rows }];
}

function metricsTable({ stage, metrics }: StageResult): ReportTable {
  const rows = Object.entries(metrics).map(([name, value]) => [name, value ?? 'not finite']);
  return { title: `Last step of ${TITLES[stage]}`, columns: ['metric', 'value'], rows };
}

/** The queries whose completions lie furthest apart in the run: the first one and the last one of each. */
async function readSamples(completionsPath: string): Promise<ReportSample[]> {
  const seen = new Map<string, { first: CompletionRecord; last: CompletionRecord }>();
  for await (const record of readRecords(completionsPath, completionSchema)) {
    if (record.sample !== 0) continue;
    const known = seen.get(record.queryId);
    seen.set(record.queryId, { first: known?.first ?? record, last: record });
  }
  return [...seen.values()]
    .filter(({ first, last }) => first.step < last.step)
    .sort((a, b) => b.last.step - b.first.step - (a.last.step - a.first.step))
    .slice(0, SAMPLES)
    .map(({ first, last }) => ({ query: first.query, before: shown(first), after: shown(last) }));
}

const shown = ({ reasoning, rank, reward }: CompletionRecord) => ({
  reasoning: wholeCharacters(reasoning),
  rank,
  reward,
});
