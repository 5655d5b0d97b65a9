/** Recorded trajectories of stage 2, and refresh policies replayed against them with full re-encoding as the oracle. */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { directPrompt } from 'search-r3/checkpoint';
import { SequenceEncoder } from 'search-r3/embed';
import { ExactEnvironment } from 'search-r3/environment';
import { frozenCopy, parameterFeeds } from 'search-r3/model';
import { RlTrainer, rlOptionsSchema } from 'search-r3/rl';
import { readStateFile, writeStateFile } from 'search-r3/run';
import { trainLoop } from 'search-r3/sft';

const CORPUS = 'corpus.json';
const stepFile = (step) => `step-${String(step).padStart(4, '0')}.state`;

/**
 * Trains a copy of `policy` by stage 2 and writes to `folder` what every step's rewards were computed from: all document
 * vectors, the rollouts' vectors and what they are to find.
 */
export async function record(folder, { collection, data }, policy, options, onStep = () => {}) {
  await mkdir(folder, { recursive: true });
  const own = frozenCopy(policy);
  const rl = rlOptionsSchema.parse(options);
  const encoder = await SequenceEncoder.create(own.config, parameterFeeds(own));
  const limit = { maxTokens: rl.maxLength };
  const ids = collection.corpus.map(({ id }) => id);
  const rows = new Map(ids.map((id, row) => [id, row]));
  const prompts = new Map(
    ids.map((id) => [id, directPrompt(own.tokenizer, own.prompts, data.document(id), 'document', limit).ids]),
  );
  await writeFile(
    join(folder, CORPUS),
    JSON.stringify({
      dimension: own.config.hiddenSize,
      groupSize: rl.groupSize,
      documents: ids.map((id) => ({ id, text: data.document(id), tokens: prompts.get(id).length })),
    }),
  );
  const exact = await ExactEnvironment.create(
    ids,
    (asked) => encoder.encode(asked.map((id) => prompts.get(id))),
    { dimension: own.config.hiddenSize },
  );
  // What the trainer asks for, written down on the way.
  const recorder = new Proxy(exact, {
    get(target, name) {
      if (name !== 'refresh') {
        const value = target[name];
        return typeof value === 'function' ? value.bind(target) : value;
      }
      return async (version, batch) => {
        const report = await target.refresh(version, batch);
        await writeStateFile(join(folder, stepFile(version)), {
          metadata: {
            relevant: batch.relevant.map((grades) => [...grades].map(([id, grade]) => [rows.get(id), grade])),
          },
          arrays: { documents: target.state().arrays.vectors, vectors: batch.vectors },
        });
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
    await trainLoop(trainer, { onStep });
  } finally {
    await trainer.dispose();
    await exact.dispose();
    await encoder.dispose();
  }
}

/** A recording: the corpus, and per step the true vectors, the rollouts and their true rewards. */
export async function loadTrajectory(folder, steps = Number.POSITIVE_INFINITY) {
  const corpus = JSON.parse(await readFile(join(folder, CORPUS), 'utf8'));
  const ids = corpus.documents.map(({ id }) => id);
  const files = (await readdir(folder)).filter((name) => name.endsWith('.state')).sort();
  const recorded = [];
  let current;
  const oracle = await ExactEnvironment.create(ids, async () => current, { dimension: corpus.dimension });
  for (const file of files.slice(0, steps)) {
    const { metadata, arrays } = await readStateFile(join(folder, file));
    const batch = {
      vectors: arrays.vectors,
      relevant: metadata.relevant.map((grades) => new Map(grades.map(([row, grade]) => [ids[row], grade]))),
    };
    current = arrays.documents;
    await oracle.refresh(recorded.length);
    const rewards = (await oracle.reward(batch)).map(({ reward }) => reward);
    recorded.push({ documents: arrays.documents, batch, rewards, groups: groupsOf(metadata.relevant) });
  }
  await oracle.dispose();
  return { ...corpus, ids, steps: recorded };
}

/** Indices of consecutive rollouts of one query: those with the same judgements. */
function groupsOf(relevant) {
  const groups = [];
  let last;
  for (const [i, grades] of relevant.entries()) {
    const key = JSON.stringify(grades);
    if (key !== last) groups.push([]);
    groups.at(-1).push(i);
    last = key;
  }
  return groups;
}

/**
 * Follows a trajectory with `create(sources)`'s environment and compares its rewards with the true ones, from the second
 * step on (the first encodes everything). `auditEvery` as in training.
 */
export async function replay(trajectory, create, { auditEvery = 0 } = {}) {
  const { ids, dimension, documents, steps } = trajectory;
  const rows = new Map(ids.map((id, row) => [id, row]));
  let current = 0;
  const environment = await create(ids, {
    dimension,
    encode: async (asked) => {
      const vectors = new Float32Array(asked.length * dimension);
      for (const [i, id] of asked.entries()) {
        const at = rows.get(id) * dimension;
        vectors.set(steps[current].documents.subarray(at, at + dimension), i * dimension);
      }
      return vectors;
    },
    tokens: (id) => documents[rows.get(id)].tokens,
    text: (id) => documents[rows.get(id)].text,
  });
  const records = [];
  for (const [step, { batch, rewards, groups }] of steps.entries()) {
    current = step;
    const report = await environment.refresh(step, batch);
    const found = (await environment.reward(batch)).map(({ reward }) => reward);
    const audited = auditEvery > 0 && step > 0 && step % auditEvery === 0;
    const audit = audited ? await environment.audit(step, batch) : undefined;
    if (step === 0) continue;
    const total = (counts) => Object.values(counts).reduce((a, b) => a + b, 0);
    records.push({
      step,
      error: mean(found.map((value, i) => Math.abs(value - rewards[i]))),
      expected: report.expectedError,
      encoded: total(report.encoded) + (audit?.encoded ?? 0),
      seconds: report.seconds,
      parts: report.parts,
      ...fidelity(found, rewards, groups),
      audit,
    });
  }
  await environment.dispose();
  return { records, ...summarize(records, ids.length) };
}

/** Spearman correlation within groups (constant groups left out and counted) and cosine of the advantages. */
function fidelity(found, truth, groups) {
  const correlations = [];
  let constant = 0;
  const [a, b] = [[], []];
  for (const group of groups) {
    const [x, y] = [group.map((i) => found[i]), group.map((i) => truth[i])];
    a.push(...advantages(x));
    b.push(...advantages(y));
    if (Math.max(...y) - Math.min(...y) < 1e-6) constant++;
    else correlations.push(pearson(ranks(x), ranks(y)));
  }
  const length = (v) => Math.sqrt(v.reduce((total, x) => total + x * x, 0));
  const dot = a.reduce((total, x, i) => total + x * b[i], 0);
  return {
    spearman: correlations.length > 0 ? mean(correlations) : 1,
    constant,
    cosine: length(a) * length(b) > 0 ? dot / (length(a) * length(b)) : 1,
  };
}

function advantages(rewards) {
  const center = mean(rewards);
  const deviation = Math.sqrt(
    rewards.reduce((total, x) => total + (x - center) ** 2, 0) / Math.max(1, rewards.length - 1),
  );
  return rewards.map((x) => (deviation > 1e-6 ? (x - center) / (deviation + 1e-4) : 0));
}

/** Ranks of values, ties sharing the mean of theirs. */
function ranks(values) {
  return values.map(
    (own) =>
      values.filter((value) => value < own).length + (values.filter((value) => value === own).length - 1) / 2,
  );
}

function pearson(a, b) {
  const [ma, mb] = [mean(a), mean(b)];
  const [da, db] = [a.map((x) => x - ma), b.map((x) => x - mb)];
  const square = (v) => v.reduce((total, x) => total + x * x, 0);
  const product = Math.sqrt(square(da) * square(db));
  return product > 0 ? da.reduce((total, x, i) => total + x * db[i], 0) / product : 0;
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function summarize(records, documents) {
  const of = (name) => mean(records.map((record) => record[name]));
  const audits = records.filter(({ audit }) => audit !== undefined);
  const widths = audits.map(({ audit }) => audit.interval[1] - audit.interval[0]).sort((x, y) => x - y);
  return {
    error: of('error'),
    worst: Math.max(...records.map(({ error }) => error)),
    expected: of('expected'),
    encoded: of('encoded') / documents,
    spearman: of('spearman'),
    cosine: of('cosine'),
    seconds: of('seconds'),
    ...(audits.length > 0 && {
      audits: audits.length,
      covered: mean(
        audits.map(({ audit, error }) => Number(audit.interval[0] <= error && error <= audit.interval[1])),
      ),
      width: widths[Math.floor(widths.length / 2)],
      audited: mean(audits.map(({ audit }) => audit.rewardError)),
    }),
  };
}
