/**
 * Recorded trajectories of stage 2. For every step a recording holds all document vectors, the vectors of the rollouts
 * and the documents they should find; for some steps also the policy and its rollouts, from which gradients are
 * computed. It is read step by step, because it may not fit into memory.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { directPrompts, saveCheckpoint } from 'search-r3/checkpoint';
import type { Collection } from 'search-r3/dataset';
import { type Environment, ExactEnvironment, type RolloutBatch } from 'search-r3/environment';
import type { Completion } from 'search-r3/generate';
import { frozenCopy, Model, type Policy } from 'search-r3/model';
import type { TrainingData } from 'search-r3/pipeline';
import { type ResolvedRlOptions, RlTrainer, rolloutBatch, sampleGroups } from 'search-r3/rl';
import { exists, readStateFile, writeStateFile } from 'search-r3/run';
import { EpochSampler, type LoopOptions, trainLoop } from 'search-r3/train';

/** Written last: a folder with it is complete. */
const CORPUS = 'corpus.json';
const numbered = (name: string, step: number) => `${name}-${String(step).padStart(4, '0')}.state`;
const STEP = 'step';
const POLICY = 'policy';

/** What stage 2 trains from. */
export interface Start {
  collection: Collection;
  data: TrainingData;
  policy: Policy;
  options: ResolvedRlOptions;
}

/** A completion without its embedding, as it is written. */
export type RecordedCompletion = Omit<Completion, 'hidden'>;

export interface RecordedGroup {
  /** Id of the query. */
  query: string;
  completions: RecordedCompletion[];
}

interface CorpusFile {
  dimension: number;
  groupSize: number;
  steps: number;
  documents: { id: string; text: string; tokens: number }[];
}

interface StepMetadata {
  /** By rollout: rows of the relevant documents, with their grades. */
  relevant: [row: number, grade: number][][];
  groups: number[][];
}

/** A step of a recording. */
export interface RecordedStep {
  step: number;
  /** All true vectors [documents * dimension]. */
  documents: Float32Array;
  batch: RolloutBatch;
  /** Indices of the rollouts of each query. */
  groups: number[][];
  /** True rewards. */
  rewards: number[];
}

export interface Trajectory extends CorpusFile {
  ids: string[];
  /** Steps whose policy was kept, ascending. */
  policySteps: number[];
  step(step: number): Promise<RecordedStep>;
  policy(step: number): Promise<{ groups: RecordedGroup[]; weights: Record<string, Float32Array> }>;
  dispose(): Promise<void>;
}

export const isRecorded = (folder: string): Promise<boolean> => exists(join(folder, CORPUS));

/**
 * Trains a copy of the policy by stage 2 and writes to `folder` everything that each step's rewards were computed from,
 * the policy and its rollouts at every `policyEvery`-th step (0: none), and the final policy (`model`). With a run
 * folder in `loop`, an interrupted recording resumes from its last checkpoint.
 */
export async function record(
  folder: string,
  { collection, data, policy, options: rl }: Start,
  policyEvery: number,
  loop: LoopOptions,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const own = frozenCopy(policy);
  const { hiddenSize } = own.config;
  const model = Model.of(own);
  const encoder = await model.encoder();
  const limit = { maxTokens: rl.maxLength };
  const ids = collection.corpus.map(({ id }) => id);
  const rows = new Map(ids.map((id, row) => [id, row]));
  const texts = ids.map(data.document);
  const made = await directPrompts(own.tokenizer, own.prompts, texts, 'document', limit);
  const prompts = new Map(ids.map((id, i) => [id, made[i].ids]));
  const promptOf = (id: string) => prompts.get(id) as number[];
  const exact = await ExactEnvironment.create(ids, (asked) => encoder.encode(asked.map(promptOf)), {
    dimension: hiddenSize,
  });
  const snapshots = policyEvery > 0 ? new Snapshots(folder, model, data, rl) : undefined;
  // What the trainer asks for is recorded on the way.
  const environment: Environment = exact;
  const refresh = environment.refresh.bind(exact);
  environment.refresh = async (version, batch) => {
    const report = await refresh(version, batch);
    const metadata: StepMetadata = {
      relevant: batch.relevant.map((grades) =>
        [...grades].map(([id, grade]) => [rows.get(id) as number, grade]),
      ),
      groups: groupsOf(batch.relevant),
    };
    await writeStateFile(join(folder, numbered(STEP, version)), {
      metadata,
      arrays: {
        documents: exact.state().arrays.vectors,
        vectors: batch.vectors as Float32Array<ArrayBuffer>,
      },
    });
    if (snapshots !== undefined && version % policyEvery === 0) await snapshots.write(version, batch);
    return report;
  };
  const { rl: queries, document, negatives } = data;
  const trainer = await RlTrainer.create(model, environment, { queries, document, negatives }, rl);
  try {
    await trainLoop(trainer, loop);
  } finally {
    await trainer.dispose();
    await exact.dispose();
    await model.dispose();
  }
  await saveCheckpoint(join(folder, 'model'), own, { overwrite: true });
  const documents = ids.map((id) => ({ id, text: data.document(id), tokens: promptOf(id).length }));
  const corpus: CorpusFile = { dimension: hiddenSize, groupSize: rl.groupSize, steps: rl.steps, documents };
  await writeFile(join(folder, CORPUS), JSON.stringify(corpus));
}

/** Writes the policy of a step with the rollouts that it samples there: those of the trainer, drawn again. */
class Snapshots {
  readonly #folder: string;
  readonly #model: Model<Policy>;
  readonly #data: TrainingData;
  readonly #options: ResolvedRlOptions;
  readonly #sampler: EpochSampler;

  constructor(folder: string, model: Model<Policy>, data: TrainingData, options: ResolvedRlOptions) {
    if (options.resampleRounds > 0)
      throw new RangeError('record: expected no resampling where policies are kept');
    this.#folder = folder;
    this.#model = model;
    this.#data = data;
    this.#options = options;
    const { queriesPerStep: batchSize, seed } = options;
    this.#sampler = new EpochSampler({ count: data.rl.length, batchSize, seed, label: 'rl' });
  }

  async write(step: number, batch: RolloutBatch): Promise<void> {
    const options = this.#options;
    const queries = this.#sampler.batch(step).map((i) => this.#data.rl[i]);
    const seed = options.seed + 1_000_003 * step;
    const policy = this.#model.checkpoint;
    const groups = await sampleGroups(policy, await this.#model.generator(), queries, options, seed);
    const { vectors } = rolloutBatch(groups.flat(), policy.config.hiddenSize);
    if (vectors.length !== batch.vectors.length || vectors.some((x, i) => x !== batch.vectors[i])) {
      throw new Error(`record: the rollouts of step ${step}, drawn again, differ from those of the trainer`);
    }
    const metadata = groups.map(
      (group): RecordedGroup => ({
        query: group[0].query.id,
        completions: group.map(({ completion: { hidden: _, ...rest } }) => rest),
      }),
    );
    await writeStateFile(join(this.#folder, numbered(POLICY, step)), {
      metadata,
      arrays: Object.fromEntries(
        [...policy.weights].map(([name, { data }]) => [name, data as Float32Array<ArrayBuffer>]),
      ),
    });
  }
}

/** Indices of the rollouts of each query: those that share their judgements. */
function groupsOf(relevant: RolloutBatch['relevant']): number[][] {
  const groups = new Map<ReadonlyMap<string, number>, number[]>();
  for (const [i, grades] of relevant.entries()) {
    const own = groups.get(grades);
    if (own === undefined) groups.set(grades, [i]);
    else own.push(i);
  }
  return [...groups.values()];
}

/** Opens a recording; `dispose` when done. */
export async function openTrajectory(folder: string): Promise<Trajectory> {
  const corpus = JSON.parse(await readFile(join(folder, CORPUS), 'utf8')) as CorpusFile;
  const ids = corpus.documents.map(({ id }) => id);
  const named = (await readdir(folder)).filter((file) => file.startsWith(`${POLICY}-`));
  let current = new Float32Array();
  const oracle = await ExactEnvironment.create(ids, async () => current, { dimension: corpus.dimension });
  const truth = new Map<number, number[]>();
  let last: RecordedStep | undefined;
  return {
    ...corpus,
    ids,
    policySteps: named
      .map((file) => Number(file.slice(POLICY.length + 1, -'.state'.length)))
      .sort((a, b) => a - b),
    async step(step) {
      if (last?.step === step) return last;
      const { metadata, arrays } = await readStateFile(join(folder, numbered(STEP, step)));
      const { relevant, groups } = metadata as StepMetadata;
      const batch = {
        vectors: arrays.vectors as Float32Array,
        relevant: relevant.map((grades) => new Map(grades.map(([row, grade]) => [ids[row], grade]))),
      };
      const documents = arrays.documents as Float32Array<ArrayBuffer>;
      let rewards = truth.get(step);
      if (rewards === undefined) {
        current = documents;
        await oracle.refresh(step);
        rewards = (await oracle.reward(batch)).map(({ reward }) => reward);
        truth.set(step, rewards);
      }
      last = { step, documents, batch, groups, rewards };
      return last;
    },
    async policy(step) {
      const { metadata, arrays } = await readStateFile(join(folder, numbered(POLICY, step)));
      return { groups: metadata as RecordedGroup[], weights: arrays as Record<string, Float32Array> };
    },
    dispose: () => oracle.dispose(),
  };
}
