/**
 * Whole trainings with the selective environment beside those of the recordings, which encode everything at each step:
 * what the retriever is worth in the end, on queries about people it never trained on, and what was encoded for it.
 */
import { join } from 'node:path';
import { loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { bootstrapDifference } from 'search-r3/evaluate';
import { asPolicy, frozenCopy } from 'search-r3/model';
import { runRl } from 'search-r3/pipeline';
import { rlOptionsSchema } from 'search-r3/rl';
import { exists, readRecords, readRunFolder, runEventSchema } from 'search-r3/run';
import { measure as scoresOf } from './atlas.mjs';
import { kept } from './environment-arms.mjs';
import { FOLDER, keyOf, resumable } from './environment-recording.mjs';
import { mean } from './replay.mjs';

/** With the audits, encodes about a fiftieth of what full encoding does. */
const SELECTIVE = {
  environment: { kind: 'selective', budget: { fraction: 0.02 } },
  auditEvery: 10,
};
/** The lower end of an interval of this confidence is a one-sided bound of 95 %. */
const CONFIDENCE = 0.9;

/** Both trainings of a recorded trajectory: nDCG@10 per held-out query, and tokens of documents after the first step. */
export async function pairedRun(recorded, trajectory, log) {
  const { name, folder, collection, data, policy, options } = recorded;
  const key = keyOf([folder, SELECTIVE]);
  const own = join(FOLDER, `selective-${key}`);
  const trained = join(own, 'model');
  const run = join(own, 'run');
  if (!(await exists(trained))) {
    const selective = frozenCopy(policy);
    const resolved = rlOptionsSchema.parse({ ...options, ...SELECTIVE });
    await resumable(run, { key }, log, `${name}, selective`, (loop) =>
      runRl(selective, collection, data, resolved, { ...loop, watch: ['reward'] }),
    );
    await saveCheckpoint(trained, selective);
  }
  return kept('runs', [key], async () => {
    const whole = trajectory.documents.reduce((total, { tokens }) => total + tokens, 0);
    return {
      exact: await evaluated(join(folder, 'model'), collection, log, name),
      selective: await evaluated(trained, collection, log, `${name}, selective`),
      tokens: { exact: whole * (options.steps - 1), selective: await tokensEncoded(run) },
    };
  });
}

async function evaluated(folder, collection, log, label) {
  const policy = asPolicy(await loadCheckpoint(folder));
  const qrels = collection.qrels.get('test');
  const { direct, reasoned } = await scoresOf({ collection }, policy, ['direct', 'reasoned'], qrels);
  log(`${label}: reasoned ${reasoned.mean.toFixed(3)}, direct ${direct.mean.toFixed(3)}`);
  return { direct: [...direct.perQuery.values()], reasoned: [...reasoned.perQuery.values()] };
}

/** Of documents, from the second step on: the first encodes everything in either case. */
async function tokensEncoded(run) {
  const { eventsPath } = await readRunFolder(run);
  let tokens = 0;
  for await (const event of readRecords(eventsPath, runEventSchema)) {
    if (event.type !== 'step' || event.step === 1) continue;
    for (const [name, value] of Object.entries(event.metrics))
      if (name.startsWith('tokens_')) tokens += value;
  }
  return tokens;
}

/** Figures of paired trainings by name, and of all together: differences are selective less exact. */
export function pairedFigures(runs) {
  const of = ({ exact, selective }, tokens) => ({
    queries: exact.reasoned.length,
    exact: mean(exact.reasoned),
    selective: mean(selective.reasoned),
    direct: { exact: mean(exact.direct), selective: mean(selective.direct) },
    difference: mean(selective.reasoned) - mean(exact.reasoned),
    notBelow: bootstrapDifference(exact.reasoned, selective.reasoned, { confidence: CONFIDENCE }).low,
    fewerTokens: tokens.exact / tokens.selective,
  });
  const all = Object.values(runs);
  const joined = (arm, system) => all.flatMap((run) => run[arm][system]);
  const pooled = (arm) => ({ reasoned: joined(arm, 'reasoned'), direct: joined(arm, 'direct') });
  const sum = (arm) => all.reduce((total, { tokens }) => total + tokens[arm], 0);
  return {
    ...Object.fromEntries(Object.entries(runs).map(([name, run]) => [name, of(run, run.tokens)])),
    all: of(
      { exact: pooled('exact'), selective: pooled('selective') },
      { exact: sum('exact'), selective: sum('selective') },
    ),
  };
}
