/** What a run has done so far: steps, evaluations, warnings, checkpoints. */
import { basename, join } from 'node:path';
import { MODEL, STAGE_NAMES } from '../../pipeline/result.js';
import { type Metrics, runEventSchema } from '../../run/events.js';
import { exists } from '../../run/files.js';
import { readRecords } from '../../run/record-log.js';
import { isRunFolder, readRunFolder } from '../../run/run-folder.js';
import type { Inspection } from './inspection.js';
import { bytes, pairs, table } from './text.js';

interface Latest {
  stage: string;
  step: number;
  metrics: Metrics;
}

// A type, not an interface: an inspection is a plain record.
type RunValue = {
  kind: 'run';
  path: string;
  stages: Latest[];
  evaluations: (Latest & { name: string })[];
  warnings: { code: string; count: number; last: string }[];
  checkpoints: { step: number; bytes: number }[];
  config: unknown;
  /** Folder of the trained model; null before it is written. */
  model: string | null;
  /** The runs of the stages, for a run of the whole pipeline. */
  runs?: RunValue[];
};

export async function inspectRun(path: string): Promise<Inspection> {
  const value = await readRun(path);
  return { value, text: () => describe(value) };
}

async function readRun(path: string): Promise<RunValue> {
  const run = await readRunFolder(path);
  const steps = new Map<string, Latest>();
  const evaluations = new Map<string, Latest & { name: string }>();
  const warnings = new Map<string, { code: string; count: number; last: string }>();
  for await (const event of readRecords(run.eventsPath, runEventSchema)) {
    const { stage, step } = event;
    switch (event.type) {
      case 'step':
        steps.set(stage, { stage, step, metrics: event.metrics });
        break;
      case 'evaluation':
        evaluations.set(`${stage}/${event.name}`, { stage, step, name: event.name, metrics: event.metrics });
        break;
      case 'warning': {
        const count = (warnings.get(event.code)?.count ?? 0) + 1;
        warnings.set(event.code, { code: event.code, count, last: event.message });
        break;
      }
      default:
        event satisfies never;
    }
  }
  const checkpoints = run.checkpoints.map(({ step, bytes }) => ({ step, bytes }));
  const model = join(path, MODEL);
  const runs: RunValue[] = [];
  for (const stage of STAGE_NAMES) {
    const inner = join(path, stage);
    if (await isRunFolder(inner)) runs.push(await readRun(inner));
  }
  return {
    kind: 'run',
    path,
    stages: [...steps.values()],
    evaluations: [...evaluations.values()],
    warnings: [...warnings.values()],
    checkpoints,
    config: run.config,
    model: (await exists(model)) ? model : null,
    ...(runs.length > 0 && { runs }),
  };
}

function describe(value: RunValue): string {
  if (value.runs !== undefined)
    return [overview(value, value.runs), ...value.runs.map(describe)].join('\n\n');
  const stages = value.stages.map(
    ({ stage, step, metrics }) => `${stage}: ${step} steps\n${metricLines(metrics)}`,
  );
  const evaluations = value.evaluations.map(
    ({ stage, name, step, metrics }) => `${stage}, ${name}, after step ${step}\n${metricLines(metrics)}`,
  );
  const checkpoints = value.checkpoints.map(({ step, bytes: size }) => [`step-${step}`, bytes(size)]);
  const sections = [
    `Run ${value.path}`,
    stages.length === 0 ? 'No step finished yet.' : stages.join('\n'),
    ...(evaluations.length === 0 ? [] : [`Evaluations\n${evaluations.join('\n')}`]),
    ...(value.warnings.length === 0
      ? []
      : [
          `Warnings\n${value.warnings.map(({ code, count, last }) => `${count} x ${code}: ${last}`).join('\n')}`,
        ]),
    checkpoints.length === 0 ? 'No checkpoint yet.' : table(['checkpoint', 'size'], checkpoints),
  ];
  return sections.join('\n\n');
}

/** The head of a run with several stages; each stage describes its own steps. */
function overview({ path, config, model }: RunValue, runs: readonly RunValue[]): string {
  const settings = config as { data?: unknown; seed?: unknown } | null;
  const given = (['data', 'seed'] as const).flatMap((key) =>
    settings?.[key] === undefined ? [] : [[key, String(settings[key])] as const],
  );
  const names = runs.map((run) => basename(run.path));
  return `Run ${path}\n\n${pairs([
    ...given,
    ['stages', names.join(', ')],
    ['model', model ?? 'none yet: the run is not finished'],
  ])}`;
}

function metricLines(metrics: Metrics): string {
  const lines = pairs(Object.entries(metrics).map(([name, number]) => [name, number ?? 'not finite']));
  return lines.replaceAll(/^/gm, '  ');
}
