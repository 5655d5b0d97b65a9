/**
 * Losses and gradients of a training step. A batch that fits the token budget is one run of one program. A larger one
 * is embedded in pieces, the contrastive term gives the gradient of each embedding, and each piece is back-propagated
 * with it (Gao et al. 2021, arXiv 2101.06983): the same numbers, in bounded memory.
 */
import { f32, floats, type HostTensor, i64, type Program, Session } from 'onnx-grad';
import { allocateGradients, GradientAccumulator } from 'onnx-grad/optim';
import type { ModelConfig } from '../checkpoint/index.js';
import { ropeTables, type TrainingWeights } from '../decoder/index.js';
import { parameterFeeds } from '../decoder/weights.js';
import {
  type ContrastiveBatch,
  chunkByLength,
  collate,
  contrastiveFeeds,
  type Label,
  longest,
  splitByLength,
  type TrainingSequence,
  wantedRows,
} from './batch.js';
import {
  BASE_PREFIX,
  contrastiveProgram,
  gradientName,
  idsName,
  type ObjectiveOptions,
  pieceProgram,
  trainingProgram,
  wantedName,
} from './program.js';

export interface EngineOptions extends ObjectiveOptions {
  /** Padded tokens in one run. Default 8,192. */
  maxTokens?: number;
  /** Recompute activations per layer in the backward pass. Default false. */
  checkpoint?: boolean;
  threads?: number;
}

export interface StepRequest {
  sequences: readonly TrainingSequence[];
  contrastive?: ContrastiveBatch;
  /** Sampling temperature of the policy-gradient term. Default 1. */
  temperature?: number;
}

export interface StepGradients {
  loss: number;
  /** By the names of `TrainingWeights.trained`, shaped like them. They are the engine's own arrays: valid until the next `compute`. */
  gradients: ReadonlyMap<string, Float32Array>;
  /** By sequence, per label: -log p (imitation) or log p at the temperature (policy gradient). */
  labelValues: Float32Array[];
  /** Weighted sums of the KL term's rows and of the token term, for metrics. */
  kl: number;
  infoNceLosses: Float32Array;
  tripletLosses: Float32Array;
}

/** Computes losses and gradients for the weights it was created on; they may change in place between steps. */
export class GradientEngine {
  readonly #config: ModelConfig;
  readonly #weights: TrainingWeights;
  readonly #options: EngineOptions;
  /** Bound to every session: the weights, and those of a base. */
  readonly #bound: Readonly<Record<string, HostTensor>>;
  readonly #sessions = new Map<string, Promise<Session>>();
  /** Where every run writes its gradients. */
  readonly #gradients: ReadonlyMap<string, HostTensor>;
  readonly #accumulator = new GradientAccumulator();

  constructor(config: ModelConfig, weights: TrainingWeights, options: EngineOptions) {
    this.#config = config;
    this.#weights = weights;
    this.#options = options;
    const trained = [...weights.trained];
    const arrays = allocateGradients(trained.map(([, { data }]) => data.length));
    this.#gradients = new Map(
      trained.map(([name, { shape }], i) => [name, f32(arrays[i] as Float32Array, shape)]),
    );
    const { base } = options.baseKl ?? {};
    const frozen = base === undefined ? {} : parameterFeeds(base);
    this.#bound = {
      ...weights.feeds,
      ...Object.fromEntries(Object.entries(frozen).map(([name, tensor]) => [BASE_PREFIX + name, tensor])),
    };
  }

  async compute(request: StepRequest): Promise<StepGradients> {
    const maxTokens = this.#options.maxTokens ?? 8192;
    const groups = splitByLength(request.sequences);
    const tokens = collate(request.sequences, groups, idsName).tokens;
    return tokens <= maxTokens ? this.#whole(request, groups) : this.#inPieces(request, maxTokens);
  }

  async dispose(): Promise<void> {
    for (const session of this.#sessions.values()) await (await session).dispose();
    this.#sessions.clear();
  }

  async #whole(request: StepRequest, groups: readonly (readonly number[])[]): Promise<StepGradients> {
    const inGraph = request.contrastive !== undefined;
    const session = await this.#training(groups.length, inGraph ? 'inGraph' : 'given');
    const piece = this.#feeds(request, groups);
    const contrastive = request.contrastive
      ? contrastiveFeeds(request.contrastive, (sequence) => piece.embedding(sequence))
      : { embedding_gradients: this.#zeros(piece.embeds) };
    const results = await this.#run(session, { ...piece.feeds, ...contrastive });
    const labelValues: Float32Array[] = [];
    piece.collect(results, labelValues);
    return {
      loss: scalar(results.loss),
      gradients: this.#byParameter(),
      labelValues,
      kl: piece.klSum(results),
      infoNceLosses: inGraph ? floats(results.info_nce_losses) : new Float32Array(),
      tripletLosses: inGraph ? floats(results.triplet_losses) : new Float32Array(),
    };
  }

  async #inPieces(request: StepRequest, maxTokens: number): Promise<StepGradients> {
    const { sequences, contrastive } = request;
    const chunks = chunkByLength(sequences, maxTokens);
    const width = this.#config.hiddenSize;
    let embeddingGradients: Map<number, Float32Array> = new Map();
    let total = 0;
    let infoNceLosses: Float32Array = new Float32Array();
    let tripletLosses: Float32Array = new Float32Array();
    if (contrastive !== undefined) {
      const embedded = await this.#embed(sequences, chunks);
      const members = [...embedded.keys()];
      const data = new Float32Array(members.length * width);
      for (const [row, member] of members.entries())
        data.set(embedded.get(member) as Float32Array, row * width);
      const session = await this.#session('contrastive', () =>
        contrastiveProgram(width, this.#options.contrastive),
      );
      const row = new Map(members.map((member, i) => [member, i]));
      const results = await session.run({
        embeddings: f32(data, [members.length, width]),
        ...contrastiveFeeds(contrastive, (sequence) => row.get(sequence) as number),
      });
      const gradient = floats(results.embedding_gradients);
      embeddingGradients = new Map(
        members.map((member, i) => [member, gradient.subarray(i * width, (i + 1) * width)]),
      );
      total = scalar(results.loss);
      infoNceLosses = floats(results.info_nce_losses);
      tripletLosses = floats(results.triplet_losses);
    }
    const session = await this.#training(1, 'given');
    const accumulator = this.#accumulator;
    accumulator.reset();
    const labelValues: Float32Array[] = [];
    let kl = 0;
    for (const chunk of chunks) {
      const piece = this.#feeds(request, [chunk]);
      const given = this.#zeros(piece.embeds);
      let surrogate = 0;
      for (const member of chunk) {
        const gradient = embeddingGradients.get(member);
        if (gradient !== undefined)
          (given.data as Float32Array).set(gradient, piece.embedding(member) * width);
      }
      const results = await this.#run(session, { ...piece.feeds, embedding_gradients: given });
      const embeddings = floats(results.embeddings);
      for (let i = 0; i < embeddings.length; i++) {
        surrogate += (embeddings[i] as number) * ((given.data as Float32Array)[i] as number);
      }
      // The surrogate only carries the gradient; the contrastive loss itself is already in the total.
      total += scalar(results.loss) - surrogate;
      kl += piece.klSum(results);
      piece.collect(results, labelValues);
      accumulator.add(this.#byParameter(), 1);
    }
    return { loss: total, gradients: accumulator.result(), labelValues, kl, infoNceLosses, tripletLosses };
  }

  /** Embeddings of the sequences that have one, by sequence. */
  async #embed(
    sequences: readonly TrainingSequence[],
    chunks: readonly (readonly number[])[],
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
      const results = await session.run({ ...collated.feeds, embed_rows: i64(rows, [rows.length]) });
      const embeddings = floats(results.embeddings);
      for (const [i, member] of members.entries()) {
        result.set(member, embeddings.slice(i * width, (i + 1) * width));
      }
    }
    return result;
  }

  #feeds(request: StepRequest, groups: readonly (readonly number[])[]): Piece {
    return new Piece(request, groups, this.#options, this.#config);
  }

  /** Runs a training program; its gradients overwrite those of the run before. */
  async #run(session: Session, feeds: Record<string, HostTensor>): Promise<Record<string, HostTensor>> {
    const outputs = [...this.#gradients].map(([name, tensor]) => [gradientName(name), tensor] as const);
    return session.runInPlace(feeds, Object.fromEntries(outputs));
  }

  /** The gradients of the last run. */
  #byParameter(): Map<string, Float32Array> {
    return new Map([...this.#gradients].map(([name, tensor]) => [name, floats(tensor)]));
  }

  #zeros(rows: number): HostTensor {
    const width = this.#config.hiddenSize;
    return f32(new Float32Array(rows * width), [rows, width]);
  }

  #training(groups: number, embeddings: 'inGraph' | 'given'): Promise<Session> {
    const { checkpoint = false } = this.#options;
    return this.#session(`training ${groups} ${embeddings}`, () =>
      trainingProgram(this.#config, this.#weights, { ...this.#options, groups, embeddings, checkpoint }),
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

/** Log-probability at the reference of the label that stands for none: exp(reference - own) must stay finite. */
const IMPOSSIBLE = -1e4;

/** The feeds of one run and the way back from its results to the sequences. */
class Piece {
  readonly feeds: Record<string, HostTensor>;
  /** Rows of `embeddings`; at least one, since a program can not run on none. */
  readonly embeds: number;
  readonly #embedding = new Map<number, number>();
  readonly #labels: { sequence: number; label: number; row: Label }[] = [];
  #klWeights: number[] = [];
  readonly #sequences: readonly TrainingSequence[];
  readonly #policy: boolean;

  constructor(
    request: StepRequest,
    groups: readonly (readonly number[])[],
    options: EngineOptions,
    config: ModelConfig,
  ) {
    const { sequences } = request;
    this.#sequences = sequences;
    const collated = collate(sequences, groups, idsName);
    const members = groups.flat();
    const at = (member: number, position: number) => (collated.start.get(member) as number) + position;
    const embedded: number[] = [];
    const targets: number[] = [];
    const labelled: number[] = [];
    for (const member of members) {
      const sequence = sequences[member] as TrainingSequence;
      if (sequence.embed !== undefined) {
        this.#embedding.set(member, embedded.length);
        embedded.push(at(member, sequence.embed));
      }
      for (const [i, label] of sequence.labels.entries()) {
        this.#labels.push({ sequence: member, label: i, row: label });
        labelled.push(at(member, label.position));
        targets.push(sequence.ids[label.position + 1] as number);
      }
    }
    this.#policy = options.tokens.kind === 'policyGradient';
    const wanted = wantedRows(collated, [...labelled, ...embedded], wantedName);
    const rowsOf = (positions: readonly number[]) =>
      positions.length === 0 ? [0] : positions.map((position) => wanted.row.get(position) as number);
    const rows = rowsOf(labelled);
    const embedRows = rowsOf(embedded);
    if (targets.length === 0) targets.push(0);
    this.embeds = embedRows.length;
    const perLabel = (value: (label: Label) => number, none = 0) => {
      const data = new Float32Array(rows.length).fill(none);
      for (const [i, { row }] of this.#labels.entries()) data[i] = value(row);
      return f32(data, [rows.length]);
    };
    this.feeds = {
      ...collated.feeds,
      ...wanted.feeds,
      ...ropeTables(config, longest(sequences, members)),
      embed_rows: i64(embedRows, [embedRows.length]),
      label_rows: i64(rows, [rows.length]),
      label_targets: i64(targets, [targets.length]),
      label_weights: perLabel((label) => label.weight),
    };
    if (options.tokens.kind === 'policyGradient') {
      const { temperature = 1 } = request;
      this.feeds.inverse_temperature = f32(Float32Array.of(1 / temperature), []);
      this.feeds.advantages = perLabel((label) => label.advantage ?? 0);
      this.feeds.old_log_probabilities = perLabel((label) => label.oldLogProbability ?? 0);
      if (options.tokens.beta > 0) {
        const reference = (label: Label) => label.referenceLogProbability ?? 0;
        this.feeds.reference_log_probabilities = perLabel(reference, IMPOSSIBLE);
        this.feeds.kl_weights = perLabel((label) => label.klWeight ?? 0);
        this.#klWeights = this.#labels.map(({ row }) => row.klWeight ?? 0);
      }
    }
    if (options.baseKl !== undefined) Object.assign(this.feeds, this.#baseFeeds(sequences, members));
  }

  /** The row of a sequence's embedding. */
  embedding(sequence: number): number {
    const row = this.#embedding.get(sequence);
    if (row === undefined) throw new Error(`internal: sequence ${sequence} has no embedding here`);
    return row;
  }

  /** Puts per-label results at their sequences. */
  collect(results: Record<string, HostTensor>, labelValues: Float32Array[]): void {
    const values = floats(results[this.#policy ? 'log_probabilities' : 'label_losses']);
    for (const [i, { sequence, label }] of this.#labels.entries()) {
      labelValues[sequence] ??= new Float32Array(this.#sequences[sequence]?.labels.length ?? 0);
      labelValues[sequence][label] = values[i] as number;
    }
  }

  klSum(results: Record<string, HostTensor>): number {
    if (results.kl_losses === undefined) return 0;
    const losses = floats(results.kl_losses);
    return this.#klWeights.reduce((total, weight, i) => total + weight * (losses[i] as number), 0);
  }

  /** The base reads only the sequences with a KL weight. */
  #baseFeeds(sequences: readonly TrainingSequence[], members: readonly number[]): Record<string, HostTensor> {
    const chosen = members.filter((member) =>
      (sequences[member] as TrainingSequence).labels.some((label) => (label.klWeight ?? 0) !== 0),
    );
    const base = collate(sequences, [chosen.length > 0 ? chosen : members.slice(0, 1)], () => 'base_ids');
    const rows: number[] = [];
    const labels: number[] = [];
    for (const [i, { sequence, row }] of this.#labels.entries()) {
      if ((row.klWeight ?? 0) === 0) continue;
      rows.push((base.start.get(sequence) as number) + row.position);
      labels.push(i);
      this.#klWeights.push(row.klWeight as number);
    }
    if (rows.length === 0) {
      rows.push(0);
      labels.push(0);
      this.#klWeights.push(0);
    }
    return {
      ...base.feeds,
      base_rows: i64(rows, [rows.length]),
      kl_labels: i64(labels, [labels.length]),
      kl_weights: f32(Float32Array.from(this.#klWeights), [rows.length]),
    };
  }
}

function scalar(tensor: HostTensor | undefined): number {
  return floats(tensor)[0] as number;
}
