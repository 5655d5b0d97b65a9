/**
 * Losses and gradients of a training step. A batch that fits the token budget is one run of one program. A larger one
 * is embedded in pieces, the terms on embeddings give the gradient of each, and each piece is back-propagated with it
 * (Gao et al. 2021, arXiv 2101.06983): the same numbers, in bounded memory.
 */
import { type Dim, f32, floats, type HostTensor, i64, type Program, product, Session } from 'onnx-grad';
import { allocateGradients, GradientAccumulator } from 'onnx-grad/optim';
import type { ModelConfig } from '../checkpoint/index.js';
import { ropeTables, type TrainingWeights } from '../decoder/index.js';
import { parameterFeeds } from '../decoder/weights.js';
import {
  type ContrastiveBatch,
  chunkByLength,
  collate,
  distinctSequences,
  longest,
  splitByLength,
  type TrainingSequence,
} from './batch.js';
import { contrastiveFeeds } from './contrastive.js';
import { DropoutNoise } from './dropout-noise.js';
import { BASE_PREFIX, headParts } from './head.js';
import { MAX_TOKENS, Turns } from './kept-sessions.js';
import {
  contrastiveProgram,
  gradientName,
  idsName,
  pieceProgram,
  type TrainingProgramOptions,
  trainingProgram,
} from './program.js';
import { embeddingTerms, labelTerms, type Objective } from './terms/index.js';
import type { EmbeddingTerm, LabelTerm } from './terms/term.js';
import { LabelResults, placedLabels, TrainingRun } from './training-run.js';

type Tensors = Record<string, HostTensor>;

export interface EngineOptions {
  objective: Objective;
  /** Padded tokens in one run. Default 8,192. */
  maxTokens?: number;
  /** Recompute activations per layer in the backward pass. Default false. */
  checkpoint?: boolean;
  /** Most bytes of logits at once: more labelled rows pass the head in parts. Default 64 MiB. */
  headBytes?: number;
  threads?: number;
}

export interface StepRequest {
  sequences: readonly TrainingSequence[];
  contrastive?: ContrastiveBatch;
  /** Sampling temperature of the tokens. Default 1. */
  temperature?: number;
  /** Of the dropout masks, where the weights have dropout: another one for each update. Default 0. */
  seed?: number;
  /** Whether this is the first update on these tokens: it matters to a policy gradient with a correction. Default true. */
  first?: boolean;
}

export interface StepGradients {
  loss: number;
  /** By the names of `TrainingWeights.trained`, shaped like them. They are the engine's own arrays: valid until the next `compute`. */
  gradients: ReadonlyMap<string, Float32Array>;
  /** What the terms on labels give, by output: by sequence, per label; 0 for a label that the term does not read. */
  labels: Readonly<Record<string, readonly Float32Array[]>>;
  /** Weighted sums of those that have weights of their own, by output. */
  sums: Readonly<Record<string, number>>;
  /** What the terms on embeddings give, by output: per anchor. */
  anchors: Readonly<Record<string, Float32Array>>;
}

/** What a step needs of a program: which terms it has something for. */
type StepPrograms = Pick<TrainingProgramOptions, 'parts' | 'embeddings'>;

/** Computes losses and gradients for the weights it was created on; they may change in place between steps. */
export class GradientEngine {
  readonly #config: ModelConfig;
  readonly #weights: TrainingWeights;
  readonly #options: EngineOptions;
  readonly #labelTerms: readonly LabelTerm[];
  readonly #embeddingTerms: readonly EmbeddingTerm[];
  /** Bound to every session: the weights, and those of a base. */
  readonly #bound: Readonly<Tensors>;
  readonly #sessions = new Map<string, Promise<Session>>();
  readonly #turns: Turns;
  /** Where every run writes its gradients. */
  readonly #gradients: ReadonlyMap<string, HostTensor>;
  readonly #accumulator = new GradientAccumulator();

  constructor(config: ModelConfig, weights: TrainingWeights, options: EngineOptions) {
    const { objective } = options;
    this.#config = config;
    this.#weights = weights;
    this.#options = options;
    this.#turns = new Turns(config, options);
    this.#labelTerms = labelTerms(objective);
    this.#embeddingTerms = embeddingTerms(objective);
    const trained = [...weights.trained];
    const arrays = allocateGradients(trained.map(([, { data }]) => data.length));
    this.#gradients = new Map(
      trained.map(([name, { shape }], i) => [name, f32(arrays[i] as Float32Array, shape)]),
    );
    const { base } = objective.kl ?? {};
    const frozen = base === undefined ? {} : parameterFeeds(base);
    this.#bound = {
      ...weights.feeds,
      ...Object.fromEntries(Object.entries(frozen).map(([name, tensor]) => [BASE_PREFIX + name, tensor])),
    };
  }

  async compute(request: StepRequest): Promise<StepGradients> {
    const read = this.#embeddingTerms.length > 0 ? request.contrastive : undefined;
    const { sequences, places, contrastive } = distinctSequences(request.sequences, read, (label) =>
      this.#labelTerms.some((term) => term.reads(label)),
    );
    if (sequences.length === 0) return this.#nothing();
    const { dropout } = this.#weights;
    const noise = dropout && new DropoutNoise(request.seed ?? 0, dropout);
    const result = await this.#distinct({ ...request, sequences, contrastive, noise });
    const given = (values: readonly Float32Array[]) =>
      request.sequences.map(({ labels }, i) => {
        const place = places[i];
        if (place === undefined) return new Float32Array(labels.length);
        const { sequence, firstLabel } = place;
        return (values[sequence] as Float32Array).subarray(firstLabel, firstLabel + labels.length);
      });
    const labels = Object.entries(result.labels).map(([name, values]) => [name, given(values)] as const);
    return { ...result, labels: Object.fromEntries(labels) };
  }

  /** A step of sequences that differ. */
  #distinct(request: KnownRequest): Promise<StepGradients> {
    const { maxTokens = MAX_TOKENS } = this.#options;
    const { sequences, contrastive } = request;
    const groups = splitByLength(sequences);
    const fits = collate(sequences, groups, idsName).tokens <= maxTokens;
    const chunks = fits ? [groups.flat()] : chunkByLength(sequences, maxTokens);
    const inOneRun = fits ? 'inGraph' : 'given';
    const programs: StepPrograms = {
      parts: this.#parts(sequences, chunks),
      embeddings: contrastive === undefined ? 'none' : inOneRun,
    };
    return fits ? this.#whole(request, groups, programs) : this.#inPieces(request, chunks, programs);
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).dispose();
    this.#sessions.clear();
  }

  /** In how many parts the labels of the run with the most of them pass the head; 0 if no run has any. */
  #parts(sequences: readonly TrainingSequence[], chunks: readonly (readonly number[])[]): number {
    const rows = chunks.map((chunk) => placedLabels(sequences, chunk, this.#labelTerms).length);
    const most = Math.max(...rows);
    return most === 0 ? 0 : headParts(most, this.#config.vocabSize, this.#options.headBytes);
  }

  /** A step in which no term has anything to read. */
  #nothing(): StepGradients {
    for (const { data } of this.#gradients.values()) (data as Float32Array).fill(0);
    return { loss: 0, gradients: this.#byParameter(), labels: {}, sums: {}, anchors: {} };
  }

  async #whole(
    request: KnownRequest,
    groups: readonly (readonly number[])[],
    programs: StepPrograms,
  ): Promise<StepGradients> {
    const session = await this.#training(groups.length, programs);
    const run = this.#prepare(request, groups, programs);
    const { contrastive } = request;
    const results = await this.#run(session, {
      ...run.feeds,
      ...(contrastive &&
        contrastiveFeeds(contrastive, (sequence) => run.embedding(sequence), this.#options.objective)),
    });
    const labels = new LabelResults();
    if (programs.parts > 0) labels.add(this.#labelTerms, run.labels, results);
    return {
      loss: scalar(results.loss),
      gradients: this.#byParameter(),
      labels: labels.values,
      sums: labels.sums,
      anchors: contrastive === undefined ? {} : this.#anchors(results),
    };
  }

  async #inPieces(
    request: KnownRequest,
    chunks: readonly (readonly number[])[],
    programs: StepPrograms,
  ): Promise<StepGradients> {
    const width = this.#config.hiddenSize;
    const contrastive = await this.#contrastive(request, chunks);
    let loss = contrastive.loss;
    const session = await this.#training(1, programs);
    const accumulator = this.#accumulator;
    accumulator.reset();
    const labels = new LabelResults();
    for (const chunk of chunks) {
      const run = this.#prepare(request, [chunk], programs);
      const given = new Float32Array(run.embeds * width);
      for (const member of chunk) {
        const gradient = contrastive.gradients.get(member);
        if (gradient !== undefined) given.set(gradient, run.embedding(member) * width);
      }
      const results = await this.#run(session, {
        ...run.feeds,
        embedding_gradients: f32(given, [run.embeds, width]),
      });
      // The sum over the given gradients only carries them; the loss of the embeddings itself is already counted.
      const carrier =
        results.embeddings === undefined
          ? 0
          : floats(results.embeddings).reduce((total, value, i) => total + value * (given[i] as number), 0);
      loss += scalar(results.loss) - carrier;
      if (programs.parts > 0) labels.add(this.#labelTerms, run.labels, results);
      accumulator.add(this.#byParameter(), 1);
    }
    return {
      loss,
      gradients: accumulator.result(),
      labels: labels.values,
      sums: labels.sums,
      anchors: contrastive.anchors,
    };
  }

  /** Loss of the terms on embeddings, and its gradients by sequence. */
  async #contrastive(
    { sequences, contrastive, noise }: KnownRequest,
    chunks: readonly (readonly number[])[],
  ): Promise<{
    loss: number;
    gradients: ReadonlyMap<number, Float32Array>;
    anchors: StepGradients['anchors'];
  }> {
    if (contrastive === undefined) return { loss: 0, gradients: new Map(), anchors: {} };
    const width = this.#config.hiddenSize;
    const { objective } = this.#options;
    const embedded = await this.#embed(sequences, chunks, noise);
    const members = [...embedded.keys()];
    const data = new Float32Array(members.length * width);
    for (const [row, member] of members.entries())
      data.set(embedded.get(member) as Float32Array, row * width);
    const row = new Map(members.map((member, i) => [member, i]));
    const session = await this.#session('contrastive', () => contrastiveProgram(width, objective));
    const results = await session.run({
      embeddings: f32(data, [members.length, width]),
      ...contrastiveFeeds(contrastive, (sequence) => row.get(sequence) as number, objective),
    });
    const gradient = floats(results.embedding_gradients);
    return {
      loss: scalar(results.loss),
      gradients: new Map(members.map((member, i) => [member, gradient.subarray(i * width, (i + 1) * width)])),
      anchors: this.#anchors(results),
    };
  }

  /** Embeddings of the sequences that have one, by sequence. */
  async #embed(
    sequences: readonly TrainingSequence[],
    chunks: readonly (readonly number[])[],
    noise: DropoutNoise | undefined,
  ): Promise<Map<number, Float32Array>> {
    const width = this.#config.hiddenSize;
    const result = new Map<number, Float32Array>();
    const session = await this.#session('embed', () => pieceProgram(this.#config, this.#weights));
    for (const chunk of chunks) {
      const members = chunk.filter((member) => sequences[member]?.embed !== undefined);
      if (members.length === 0) continue;
      const collated = collate(sequences, [members], () => 'ids');
      const rows = members.map(
        (member) => (collated.start.get(member) as number) + (sequences[member]?.embed as number),
      );
      session.bind(ropeTables(this.#config, longest(sequences, members)));
      const results = await session.run({
        ...collated.feeds,
        embed_rows: i64(rows, [rows.length]),
        ...(noise &&
          this.#read(session, noise.feeds(sequences, collated, rowsOfPiece(collated.tokens, rows)))),
      });
      const embeddings = floats(results.embeddings);
      for (const [i, member] of members.entries()) {
        result.set(member, embeddings.slice(i * width, (i + 1) * width));
      }
    }
    return result;
  }

  #prepare(
    { sequences, temperature = 1, first = true, noise }: KnownRequest,
    groups: readonly (readonly number[])[],
    { parts }: StepPrograms,
  ): TrainingRun {
    return new TrainingRun(sequences, groups, {
      config: this.#config,
      terms: this.#labelTerms,
      parts,
      temperature,
      first,
      noise,
    });
  }

  /** Runs a training program on what it reads of `feeds`; its gradients overwrite those of the run before. */
  async #run(session: Session, feeds: Tensors): Promise<Partial<Tensors>> {
    const outputs = [...this.#gradients].map(([name, tensor]) => [gradientName(name), tensor] as const);
    return session.runInPlace(this.#read(session, feeds), Object.fromEntries(outputs));
  }

  /** Those of `feeds` that a program reads. */
  #read({ program: { inputs } }: Session, feeds: Tensors): Tensors {
    return Object.fromEntries(Object.entries(feeds).filter(([name]) => inputs.has(name)));
  }

  /** The gradients of the last run. */
  #byParameter(): Map<string, Float32Array> {
    return new Map([...this.#gradients].map(([name, tensor]) => [name, floats(tensor)]));
  }

  #anchors(results: Partial<Tensors>): StepGradients['anchors'] {
    return Object.fromEntries(this.#embeddingTerms.map(({ output }) => [output, floats(results[output])]));
  }

  async #training(groups: number, programs: StepPrograms): Promise<Session> {
    const { objective, checkpoint = false } = this.#options;
    const key = `training ${groups} ${programs.parts} ${programs.embeddings}`;
    const ended = this.#turns.next(key);
    if (ended !== undefined) {
      const session = await this.#sessions.get(ended);
      this.#sessions.delete(ended);
      await session?.dispose();
    }
    return this.#session(key, () =>
      trainingProgram(this.#config, this.#weights, { ...programs, objective, groups, checkpoint }),
    );
  }

  #session(key: string, build: () => Program): Promise<Session> {
    const known = this.#sessions.get(key);
    if (known !== undefined) return known;
    const { threads } = this.#options;
    const created = Session.create(build(), { ...(threads !== undefined && { threads }) }).then((session) => {
      session.bind(this.#bound);
      return session;
    });
    this.#sessions.set(key, created);
    return created;
  }
}

type KnownRequest = Omit<StepRequest, 'contrastive'> & {
  contrastive: ContrastiveBatch | undefined;
  noise: DropoutNoise | undefined;
};

function scalar(tensor: HostTensor | undefined): number {
  return floats(tensor)[0] as number;
}

/** Flat positions of the rows of the matrices of `pieceProgram`. */
const rowsOfPiece = (tokens: number, embedded: readonly number[]) =>
  new Map<Dim, readonly number[]>([
    [product('batch', 'length'), Array.from({ length: tokens }, (_, i) => i)],
    ['embeds', embedded],
  ]);
