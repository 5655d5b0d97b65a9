/** A model ready to embed, to generate and to be trained: what everything else speaks to. */
import { createHash } from 'node:crypto';
import {
  type Adapter,
  checkpointFingerprint,
  type Fingerprint,
  fingerprintParts,
  parameterCount,
  type SaveCheckpointOptions,
  type Stored,
  saveCheckpoint,
  type TrainedWith,
  writeAdapterFolder,
} from '../checkpoint/index.js';
import {
  adapterTraining,
  type Encoder,
  type FrozenWeights,
  fullTraining,
  fusesAttention,
  type InferenceWeights,
  inferenceWeights,
  type Precision,
  SequenceEncoder,
  type TrainingWeights,
  weightsInMemory,
} from '../decoder/index.js';
import { Generator, type GeneratorOptions } from '../generate/index.js';
import { InputError } from '../run/index.js';
import { type EngineOptions, GradientEngine, LogProbabilities, type Trained } from '../train/index.js';
import { Adapters } from './adapters.js';
import {
  describedForTraining,
  type LoadModelOptions,
  type LoadTrainableOptions,
  type OpenedModel,
  openAdapter,
  openForUse,
} from './opened.js';
import { type EmbeddingModel, frozenCopy, type Policy } from './policy.js';

/**
 * From so many parameters on, encoder and generator share a session. Two sessions each arrange the weights for their own
 * kernels, 1.4 GiB at 1.5 billion parameters in int8, and encode a few per cent faster.
 */
export const SHARED_FROM = 1e9;

export interface TrainableOptions {
  /** Which rows of the token tables are trained: all, or that of the embed token alone. */
  tokenEmbeddings: 'trained' | 'frozen';
}

/**
 * A model, its files closed again. Encoder and generator are made when they are first asked for, and shared.
 * @typeParam M the checkpoint it was made of, if its weights are in memory.
 */
export class Model<M extends EmbeddingModel = EmbeddingModel> implements Omit<EmbeddingModel, 'weights'> {
  readonly config: EmbeddingModel['config'];
  readonly tokenizer: EmbeddingModel['tokenizer'];
  readonly prompts: M['prompts'];
  readonly preset: EmbeddingModel['preset'];
  /** Length of the vectors; undefined: that of the hidden states. */
  readonly dimensions: EmbeddingModel['dimensions'];
  readonly embedId: M['embedId'];
  readonly stopIds: readonly number[];
  /** How it computes. */
  readonly precision: Precision;
  readonly #frozen: FrozenWeights;
  /** What encoder and generator compute with: the same, or the same model in another precision. */
  readonly #sampling: FrozenWeights;
  readonly #stored: Stored;
  /** Undefined for a model whose weights are in files. */
  readonly #checkpoint: M | undefined;
  /** Path of its files, or of those of its base. */
  readonly #path: string | undefined;
  readonly #adapters: Adapters;
  readonly #threads: { threads?: number };
  #limits: EmbeddingModel['limits'];
  #split: EmbeddingModel['split'];
  #matryoshka: EmbeddingModel['matryoshka'];
  #version = 0;
  #disposed = false;
  #encoder: Promise<Encoder> | undefined;
  #generator: Promise<Generator> | undefined;
  #fingerprint: Promise<Fingerprint> | undefined;

  private constructor(
    model: Omit<EmbeddingModel, 'weights'> & Pick<M, 'prompts' | 'embedId'>,
    from: Pick<OpenedModel, 'frozen' | 'stored'> & Partial<OpenedModel> & { checkpoint?: M },
    threads: number | undefined,
  ) {
    this.config = model.config;
    this.tokenizer = model.tokenizer;
    this.prompts = model.prompts;
    this.preset = model.preset;
    this.dimensions = model.dimensions;
    this.#limits = model.limits;
    this.#split = model.split;
    this.#matryoshka = model.matryoshka;
    this.embedId = model.embedId;
    this.stopIds = model.stopIds;
    this.precision = (from.sampling ?? from.frozen).precision;
    this.#frozen = from.frozen;
    this.#sampling = from.sampling ?? from.frozen;
    this.#stored = from.stored;
    this.#checkpoint = from.checkpoint;
    this.#path = from.path;
    this.#adapters = new Adapters(model.config, from.adapter, from.rows);
    this.#threads = threads === undefined ? {} : { threads };
  }

  /**
   * Loads a Hugging Face folder, a GGUF file, or an adapter folder on its base, to embed with it.
   * @throws InputError if it is no model, or one that cannot embed as the options ask, before its weights are read.
   */
  static async load(path: string, options: LoadModelOptions = {}): Promise<Model> {
    const opened = await openForUse(path, { ...options, precision: options.precision ?? 'auto' });
    return new Model(opened.described, opened, options.threads);
  }

  /**
   * Loads a model whose weights stay in files, to train an adapter on top of them: a new one, or that of the folder.
   * @throws InputError as `load`, for a model without an adapter, and for prompts that training does not take.
   */
  static async loadTrainable(path: string, options: LoadTrainableOptions): Promise<Model<Policy>> {
    const opened = await openForUse(path, {
      ...options,
      precision: options.precision ?? 'auto',
      reasoning: true,
    });
    return new Model<Policy>(describedForTraining(opened, path), opened, options.threads);
  }

  /**
   * A model whose weights are in memory, in float32, and stay the caller's own arrays: training changes them in place.
   */
  static of<M extends EmbeddingModel>(
    checkpoint: M,
    { threads }: { threads?: number | undefined } = {},
  ): Model<M> {
    const { weights } = checkpoint;
    const frozen = weightsInMemory(checkpoint);
    return new Model(checkpoint, { frozen, stored: { weights }, checkpoint }, threads);
  }

  /**
   * The checkpoint that it was made of, with the weights that training changes.
   * @throws InputError if the weights are in files.
   */
  get checkpoint(): M {
    if (this.#checkpoint !== undefined) return this.#checkpoint;
    throw new InputError({
      source: 'model',
      field: 'weights',
      expected: 'weights in memory, which training can change',
      found: 'weights in files',
      remedy: 'Read them with loadCheckpoint, and make the model with Model.of.',
    });
  }

  /** The lengths that it was trained with. */
  get limits(): EmbeddingModel['limits'] {
    return this.#limits;
  }

  /** How training shared the queries out. */
  get split(): EmbeddingModel['split'] {
    return this.#split;
  }

  /** Lengths at which its vectors were trained to be good too. */
  get matryoshka(): EmbeddingModel['matryoshka'] {
    return this.#matryoshka;
  }

  /** What training leaves for those who use the model, or train it further. */
  remember({ limits, split, matryoshka }: TrainedWith): void {
    this.#limits = limits ?? this.#limits;
    this.#split = split ?? this.#split;
    this.#matryoshka = matryoshka ?? this.#matryoshka;
  }

  /** How often its weights have changed since it was made. */
  get version(): number {
    return this.#version;
  }

  /** To be called after each change of the weights. Encoder and generator compute with the new ones from then on. */
  updated(): void {
    this.#version++;
    this.#fingerprint = undefined;
  }

  /** The adapter on top of its weights, whose arrays training changes in place. */
  get adapter(): Adapter | undefined {
    return this.#adapters.current;
  }

  /** The names that `use` takes. That of the adapter that the model was loaded with is `default`. */
  get adapterNames(): string[] {
    return this.#adapters.names;
  }

  /**
   * Reads another adapter folder of this base, to be switched to with `use`. Encoder and generator are made anew, when
   * they are next asked for, if it changes linear layers that no adapter before it does.
   * @throws InputError for a model in memory, a name that is taken, an adapter that does not fit the base, and one that
   * embeds with other prompts or another token.
   */
  async addAdapter(name: string, folder: string): Promise<void> {
    const form = JSON.stringify(this.#adapters.form);
    const { adapter, rows } = await openAdapter(name, folder, this, this.#path, this.#adapters);
    this.#adapters.add(name, adapter, rows);
    if (JSON.stringify(this.#adapters.form) !== form) await this.release();
  }

  /**
   * Encoder and generator compute with this adapter from now on, and the trainer is that of this adapter; undefined
   * stands for the base alone. Nothing is loaded. Not to be called while something is encoded or generated.
   * @throws InputError for a name that was not added.
   */
  async use(name: string | undefined): Promise<void> {
    this.#adapters.use(name);
    this.updated();
    const { feeds } = this.#adapters;
    const { encoder, generator } = await this.#made();
    encoder?.bind(feeds);
    generator?.bind(feeds);
  }

  /** Whether encoder and generator compute to about the last bit what the trainer does: in float32 both do. */
  get samplesAsTrained(): boolean {
    return this.#sampling.precision === 'f32' && this.#frozen.precision === 'f32';
  }

  /** In which arithmetic it samples and is trained, for people. */
  get arithmetic(): string {
    return `sampled in ${this.#sampling.precision}, trained in ${this.#frozen.precision}`;
  }

  /** What training changes and a run saves. @throws InputError for weights in files without an adapter. */
  get trained(): Trained {
    return this.adapter?.weights ?? this.checkpoint;
  }

  /** The weights, for programs of one's own. */
  get inferenceWeights(): InferenceWeights {
    const { weightsIn, feeds } = inferenceWeights(this.#sampling, this.#adapters.form);
    return { weightsIn, feeds: { ...feeds, ...this.#adapters.feeds } };
  }

  /** Of a large model it is that of the generator, which this makes with its defaults if there is none. */
  encoder(): Promise<Encoder> {
    this.#refuseDisposed();
    const { config } = this;
    this.#encoder ??=
      parameterCount(config) >= SHARED_FROM && fusesAttention(config)
        ? this.generator().then(({ encoder }) => encoder)
        : SequenceEncoder.create(config, this.inferenceWeights, this.#threads);
    return this.#encoder;
  }

  /** @param options are those of the first call. Errors: InputError for heads that cached attention can not take. */
  generator(options: Omit<GeneratorOptions, 'threads'> = {}): Promise<Generator> {
    this.#refuseDisposed();
    this.#generator ??= Generator.create(this.config, this.inferenceWeights, {
      ...options,
      ...this.#threads,
    });
    return this.#generator;
  }

  /**
   * Its weights as training sees them: those of its adapter, or all.
   * @throws InputError for weights in files without an adapter.
   */
  trainable({ tokenEmbeddings }: TrainableOptions): TrainingWeights {
    if (this.adapter !== undefined) return adapterTraining(this.#frozen, this.adapter);
    return fullTraining(this.checkpoint, tokenEmbeddings === 'frozen' ? this.embedId : undefined);
  }

  /**
   * Losses and gradients of an objective. The caller disposes of the engine, and calls `updated` after each update.
   * @param weights what `trainable` of this model gave.
   */
  trainer(weights: TrainingWeights, options: EngineOptions): GradientEngine {
    return new GradientEngine(this.config, weights, { ...this.#threads, ...options });
  }

  /** Log-probabilities of tokens, by the arithmetic of `trainer`. The caller disposes of it. */
  logProbabilities(): Promise<LogProbabilities> {
    return LogProbabilities.create(this.config, this.trainable({ tokenEmbeddings: 'trained' }));
  }

  /**
   * A model that stays as this one is now, whatever training changes; weights in files are shared. The caller disposes
   * of it.
   */
  frozen(): Model<M> {
    const { adapter } = this;
    if (adapter === undefined) return Model.of(frozenCopy(this.checkpoint), this.#threads);
    const { weights } = frozenCopy({ ...this, weights: adapter.weights });
    return this.#sharing({ ...adapter, weights });
  }

  /**
   * Writes it as a Hugging Face folder, or as an adapter folder, atomically.
   * @throws InputError as `saveCheckpoint`, and for weights in files without an adapter.
   */
  async save(folder: string, options: SaveCheckpointOptions = {}): Promise<void> {
    const { limits, split, matryoshka, prompts, preset, dimensions, tokenizer } = this;
    if (this.adapter !== undefined && this.#path !== undefined) {
      const retriever = { prompts, preset, dimensions, limits, split, matryoshka };
      const { overwrite } = options;
      return writeAdapterFolder(
        folder,
        this.adapter,
        { base: this.#path, tokenizer, retriever },
        { overwrite },
      );
    }
    await saveCheckpoint(folder, { ...this.checkpoint, limits, split, matryoshka }, options);
  }

  /** What decides its vectors, in parts. Reads the files of the weights once, those in memory after each update. */
  fingerprint(): Promise<Fingerprint> {
    if (this.#fingerprint === undefined) {
      const { identity } = this.#adapters;
      this.#fingerprint = fingerprintParts(this, this.#stored, {
        precision: this.precision,
        ...(identity !== undefined && { adapter: identity }),
      });
    }
    return this.#fingerprint;
  }

  /** SHA-256, in hex, of weights and tokenizer: a run is not resumed with another model. */
  async identity(): Promise<string> {
    if (this.adapter === undefined) return checkpointFingerprint(this.checkpoint);
    const { weights, tokenizer, adapter, precision } = await this.fingerprint();
    return createHash('sha256').update([weights, tokenizer, adapter, precision].join()).digest('hex');
  }

  /** Frees encoder and generator. Asked for again, they are made anew. */
  async release(): Promise<void> {
    const made = this.#made();
    this.#encoder = undefined;
    this.#generator = undefined;
    const { encoder, generator } = await made;
    await encoder?.dispose();
    await generator?.dispose();
  }

  /** Frees encoder and generator for good. */
  async dispose(): Promise<void> {
    this.#disposed = true;
    await this.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #refuseDisposed(): void {
    if (this.#disposed) throw new Error('the model was disposed of');
  }

  /** Encoder and generator where there are any: what could not be made has reported its error. */
  async #made(): Promise<{ encoder: Encoder | undefined; generator: Generator | undefined }> {
    const [encoder, generator] = [this.#encoder, this.#generator];
    return {
      encoder: await encoder?.catch(() => undefined),
      generator: await generator?.catch(() => undefined),
    };
  }

  /** Another model on the same weights. */
  #sharing(adapter: Adapter): Model<M> {
    const { limits, split, matryoshka } = this;
    const from = {
      ...{ frozen: this.#frozen, sampling: this.#sampling, stored: this.#stored, adapter },
      rows: this.#adapters.rows,
      ...(this.#path !== undefined && { path: this.#path }),
      ...(this.#checkpoint && { checkpoint: this.#checkpoint }),
    };
    return new Model<M>({ ...this, limits, split, matryoshka }, from, this.#threads.threads);
  }
}
