/**
 * Recorded trajectories of stage 2, and refresh policies replayed against them with full re-encoding as the oracle. A
 * recording holds per step all document vectors, the rollouts' vectors and what they are to find; on some steps also
 * the policy and its rollouts, from which gradients are computed anew. It is read step by step: one may be larger than
 * memory.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { directPrompts, saveCheckpoint } from 'search-r3/checkpoint';
import { SequenceEncoder } from 'search-r3/embed';
import { ExactEnvironment } from 'search-r3/environment';
import { Generator } from 'search-r3/generate';
import { frozenCopy, parameterFeeds } from 'search-r3/model';
import { advantages, RlTrainer, rlOptionsSchema, rolloutBatch, sampleGroups } from 'search-r3/rl';
import { copyRows, exists, readStateFile, writeStateFile } from 'search-r3/run';
import { EpochSampler, trainLoop } from 'search-r3/sft';

/** Written last: a folder with it is whole. */
const CORPUS = 'corpus.json';
const numbered = (name, step) => `${name}-${String(step).padStart(4, '0')}.state`;
const STEP = 'step';
const POLICY = 'policy';

export const isRecorded = (folder) => exists(join(folder, CORPUS));

/**
 * Trains a copy of `policy` by stage 2 and writes to `folder` what every step's rewards were computed from, on every
 * `policyEvery`-th step (0: none) the policy and its rollouts, and the policy in the end (`model`). `loop`: as of
 * `trainLoop`; with a run folder an interrupted recording goes on at its last checkpoint.
 */
export async function record(
  folder,
  { collection, data },
  policy,
  options,
  { policyEvery = 0, ...loop } = {},
) {
  await mkdir(folder, { recursive: true });
  const own = frozenCopy(policy);
  const rl = rlOptionsSchema.parse(options);
  const { hiddenSize } = own.config;
  const encoder = await SequenceEncoder.create(own.config, parameterFeeds(own));
  const limit = { maxTokens: rl.maxLength };
  const ids = collection.corpus.map(({ id }) => id);
  const rows = new Map(ids.map((id, row) => [id, row]));
  const texts = ids.map(data.document);
  const made = await directPrompts(own.tokenizer, own.prompts, texts, 'document', limit);
  const prompts = new Map(ids.map((id, i) => [id, made[i].ids]));
  const exact = await ExactEnvironment.create(
    ids,
    (asked) => encoder.encode(asked.map((id) => prompts.get(id))),
    { dimension: hiddenSize },
  );
  const snapshots = policyEvery > 0 ? await Snapshots.create(folder, own, data, rl) : undefined;
  // What the trainer asks for, written down on the way.
  const recorder = new Proxy(exact, {
    get(target, name) {
      if (name !== 'refresh') {
        const value = target[name];
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return async (version, batch) => {
        const report = await target.refresh(version, batch);
        await writeStateFile(join(folder, numbered(STEP, version)), {
          metadata: {
            relevant: batch.relevant.map((grades) => [...grades].map(([id, grade]) => [rows.get(id), grade])),
            groups: groupsOf(batch.relevant),
          },
          arrays: { documents: target.state().arrays.vectors, vectors: batch.vectors },
        });
        if (snapshots !== undefined && version % policyEvery === 0) await snapshots.write(version, batch);
        return report;
      };
    },
  });
  const trainer = await RlTrainer.create(
    own,
    recorder,
    { queries: data.rl, document: data.document, negatives: data.negatives },
    rl,
  );
  try {
    await trainLoop(trainer, loop);
  } finally {
    await trainer.dispose();
    await snapshots?.dispose();
    await exact.dispose();
    await encoder.dispose();
  }
  await saveCheckpoint(join(folder, 'model'), own, { overwrite: true });
  const documents = ids.map((id) => ({ id, text: data.document(id), tokens: prompts.get(id).length }));
  const corpus = { dimension: hiddenSize, groupSize: rl.groupSize, steps: rl.steps, documents };
  await writeFile(join(folder, CORPUS), JSON.stringify(corpus));
}

/** Writes the policy as it is at a step, with the rollouts it samples there: the same as the trainer's, drawn again. */
class Snapshots {
  constructor(folder, policy, data, rl, generator) {
    Object.assign(this, { folder, policy, data, rl, generator });
    const { queriesPerStep: batchSize, seed } = rl;
    this.sampler = new EpochSampler({ count: data.rl.length, batchSize, seed, label: 'rl' });
  }

  static async create(folder, policy, data, rl) {
    if (rl.resampleRounds > 0) throw new RangeError('record: expected no resampling where policies are kept');
    const generator = await Generator.create(policy.config, parameterFeeds(policy));
    return new Snapshots(folder, policy, data, rl, generator);
  }

  async write(step, batch) {
    const { policy, data, rl, generator, sampler } = this;
    const queries = sampler.batch(step).map((i) => data.rl[i]);
    const groups = await sampleGroups(policy, generator, queries, rl, rl.seed + 1_000_003 * step);
    const { vectors } = rolloutBatch(groups.flat(), policy.config.hiddenSize);
    if (vectors.length !== batch.vectors.length || vectors.some((x, i) => x !== batch.vectors[i])) {
      throw new Error(`record: the rollouts of step ${step}, drawn again, are not those of the trainer`);
    }
    await writeStateFile(join(this.folder, numbered(POLICY, step)), {
      metadata: groups.map((group) => ({
        query: group[0].query.id,
        completions: group.map(({ completion: { hidden: _, ...rest } }) => rest),
      })),
      arrays: Object.fromEntries([...policy.weights].map(([name, { data }]) => [name, data])),
    });
  }

  async dispose() {
    await this.generator.dispose();
  }
}

/** Indices of the rollouts of each query: those that share their judgements. */
function groupsOf(relevant) {
  const groups = new Map();
  for (const [i, grades] of relevant.entries()) {
    if (!groups.has(grades)) groups.set(grades, []);
    groups.get(grades).push(i);
  }
  return [...groups.values()];
}

/** A recording, to be read step by step; `dispose` when done. */
export async function openTrajectory(folder) {
  const corpus = JSON.parse(await readFile(join(folder, CORPUS), 'utf8'));
  const ids = corpus.documents.map(({ id }) => id);
  const named = (await readdir(folder)).filter((file) => file.startsWith(`${POLICY}-`));
  let current;
  const oracle = await ExactEnvironment.create(ids, async () => current, { dimension: corpus.dimension });
  const truth = new Map();
  let last;
  return {
    ...corpus,
    ids,
    /** Steps of which the policy is known, ascending. */
    policySteps: named
      .map((file) => Number(file.slice(POLICY.length + 1, -'.state'.length)))
      .sort((a, b) => a - b),
    /** All true vectors of a step, its rollouts by group, and their true rewards. */
    async step(step) {
      if (last?.step === step) return last;
      const { metadata, arrays } = await readStateFile(join(folder, numbered(STEP, step)));
      const { relevant, groups } = metadata;
      const batch = {
        vectors: arrays.vectors,
        relevant: relevant.map((grades) => new Map(grades.map(([row, grade]) => [ids[row], grade]))),
      };
      if (!truth.has(step)) {
        current = arrays.documents;
        await oracle.refresh(step);
        truth.set(
          step,
          (await oracle.reward(batch)).map(({ reward }) => reward),
        );
      }
      last = { step, documents: arrays.documents, batch, groups, rewards: truth.get(step) };
      return last;
    },
    /** Weights by name and groups of completions. */
    async policy(step) {
      const { metadata, arrays } = await readStateFile(join(folder, numbered(POLICY, step)));
      return { groups: metadata, weights: arrays };
    },
    dispose: () => oracle.dispose(),
  };
}

/**
 * Follows a trajectory with `create(ids, sources)`'s environment and compares its rewards with the true ones, from the
 * second step on (the first encodes everything). `auditEvery` as in training. Beside the summary: `records` by step, and
 * `rewards` by step for the steps whose policy is known.
 */
export async function replay(trajectory, create, { auditEvery = 0 } = {}) {
  const { ids, dimension, documents, steps, policySteps } = trajectory;
  const rows = new Map(ids.map((id, row) => [id, row]));
  let current;
  const environment = await create(ids, {
    dimension,
    encode: async (asked) => {
      const own = asked.map((id) => rows.get(id));
      return copyRows(new Float32Array(own.length * dimension), current.documents, own, dimension);
    },
    tokens: (id) => documents[rows.get(id)].tokens,
    text: (id) => documents[rows.get(id)].text,
  });
  const records = [];
  const kept = {};
  for (let step = 0; step < steps; step++) {
    current = await trajectory.step(step);
    const { batch, rewards, groups } = current;
    const report = await environment.refresh(step, batch);
    const found = (await environment.reward(batch)).map(({ reward }) => reward);
    const audited = auditEvery > 0 && step > 0 && step % auditEvery === 0;
    const audit = audited ? await environment.audit(step, batch) : undefined;
    if (step === 0) continue;
    if (policySteps.includes(step)) kept[step] = found;
    const total = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
    records.push({
      step,
      error: mean(found.map((value, i) => Math.abs(value - rewards[i]))),
      expected: report.expectedError,
      encoded: total(report.encoded) + (audit?.encoded ?? 0),
      seconds: report.seconds,
      ...fidelity(found, rewards, groups),
      ...(audit && { audit: { interval: audit.interval, rewardError: audit.rewardError } }),
    });
  }
  await environment.dispose();
  return { ...summarize(records, ids.length), records, rewards: kept };
}

/** Rewards that differ less within a group teach nothing. */
const CONSTANT = 1e-6;

/** Spearman correlation within groups (those of constant true rewards left out and counted), cosine of advantages. */
function fidelity(found, truth, groups) {
  const of = (rewards) => groups.map((group) => group.map((i) => rewards[i]));
  const [ours, theirs] = [of(found), of(truth)];
  const varied = theirs.flatMap((rewards, i) =>
    Math.max(...rewards) - Math.min(...rewards) < CONSTANT ? [] : [i],
  );
  const correlations = varied.map((i) => pearson(ranks(ours[i]), ranks(theirs[i])));
  return {
    spearman: correlations.length > 0 ? mean(correlations) : null,
    constant: groups.length - varied.length,
    groups: groups.length,
    cosine: cosine(advantages(ours, 'group').flat(), advantages(theirs, 'group').flat()),
  };
}

/** Null where one of the two is zero. */
export function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa * bb > 0 ? ab / Math.sqrt(aa * bb) : null;
}

/** Ranks of values, ties sharing the mean of theirs. */
function ranks(values) {
  return values.map(
    (own) =>
      values.filter((value) => value < own).length + (values.filter((value) => value === own).length - 1) / 2,
  );
}

/** 0 where one of the two is constant. */
function pearson(a, b) {
  const centred = (values) => {
    const center = mean(values);
    return values.map((x) => x - center);
  };
  return cosine(centred(a), centred(b)) ?? 0;
}

export const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function summarize(records, documents) {
  const of = (name) => {
    const values = records.map((record) => record[name]).filter((value) => value !== null);
    return values.length > 0 ? mean(values) : null;
  };
  const total = (name) => records.reduce((sum, record) => sum + record[name], 0);
  const audits = records.filter(({ audit }) => audit !== undefined);
  const widths = audits.map(({ audit }) => audit.interval[1] - audit.interval[0]).sort((x, y) => x - y);
  return {
    error: of('error'),
    worst: Math.max(...records.map(({ error }) => error)),
    expected: of('expected'),
    encoded: of('encoded'),
    share: of('encoded') / documents,
    spearman: of('spearman'),
    constantGroups: `${total('constant')} of ${total('groups')}`,
    cosine: of('cosine'),
    seconds: of('seconds'),
    ...(audits.length > 0 && {
      audits: audits.length,
      covered: mean(
        audits.map(({ audit, error }) => Number(audit.interval[0] <= error && error <= audit.interval[1])),
      ),
      width: widths[Math.floor(widths.length / 2)],
      audited: mean(audits.map(({ audit }) => audit.rewardError)),
      auditedTruth: mean(audits.map(({ error }) => error)),
    }),
  };
}
