/** A model ready to embed, to generate and to be trained: what everything else speaks to. */
import {
  type Checkpoint,
  checkpointFingerprint,
  type Fingerprint,
  fingerprintParts,
  type LengthLimits,
  type OpenModelOptions,
  openModel,
  type QuerySplit,
  type SaveCheckpointOptions,
  type Stored,
  saveCheckpoint,
  stopIds,
  storedFiles,
} from '../checkpoint/index.js';
import { type InferenceWeights, memoryWeights, type Precision, SequenceEncoder } from '../decoder/index.js';
import { Generator, type GeneratorOptions } from '../generate/index.js';
import { InputError } from '../run/index.js';
import { type EngineOptions, GradientEngine } from '../train/index.js';
import { type EmbeddingModel, frozenCopy } from './policy.js';
import { type ChosenWeights, chooseWeights, type PrecisionChoice } from './precision.js';

export interface LoadModelOptions
  extends Pick<NonNullable<OpenModelOptions['embedding']>, 'prompts' | 'reasoning'> {
  /**
   * How the model computes. Default `auto`: int8 for 50 million parameters or more if the CPU computes it exactly and
   * the vectors stay close to those of f32, else f32.
   */
  precision?: PrecisionChoice | undefined;
  /** Threads inside one operator. Default: as many as physical cores. */
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called with each thing that is read differently from what the files say, and with the precision chosen. */
  onNote?: ((text: string) => void) | undefined;
  /** Called while weights are quantised for the first time, with layers done. */
  onProgress?: ((done: number, total: number) => void) | undefined;
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
  readonly #weights: InferenceWeights;
  readonly #stored: Stored;
  /** Undefined for a model whose weights are in files. */
  readonly #checkpoint: M | undefined;
  readonly #threads: { threads?: number };
  #limits: EmbeddingModel['limits'];
  #split: EmbeddingModel['split'];
  #version = 0;
  #encoder: Promise<SequenceEncoder> | undefined;
  #generator: Promise<Generator> | undefined;
  #fingerprint: Promise<Fingerprint> | undefined;

  private constructor(
    model: Omit<EmbeddingModel, 'weights'> & Pick<M, 'prompts' | 'embedId'>,
    { precision, weights }: ChosenWeights,
    from: { stored: Stored; checkpoint?: M },
    threads: number | undefined,
  ) {
    this.config = model.config;
    this.tokenizer = model.tokenizer;
    this.prompts = model.prompts;
    this.preset = model.preset;
    this.dimensions = model.dimensions;
    this.#limits = model.limits;
    this.#split = model.split;
    this.embedId = model.embedId;
    this.stopIds = model.stopIds;
    this.precision = precision;
    this.#weights = weights;
    this.#stored = from.stored;
    this.#checkpoint = from.checkpoint;
    this.#threads = threads === undefined ? {} : { threads };
  }

  /**
   * Loads a Hugging Face folder or a GGUF file to embed with it.
   * @throws InputError if it is no model, or one that cannot embed as the options ask, before its weights are read.
   */
  static async load(path: string, options: LoadModelOptions = {}): Promise<Model> {
    const { prompts, reasoning, precision = 'auto', threads, signal, onNote, onProgress } = options;
    const note = (text: string) => onNote?.(`${path}: ${text}`);
    const folder = await openModel(path, { embedding: { prompts, reasoning } });
    try {
      const { config, tokenizer, retriever } = folder;
      if (retriever === undefined) throw new Error('internal: opened to embed, without a way to');
      for (const text of folder.notes) note(text);
      const files = await storedFiles(path, config);
      const chosen = await chooseWeights(
        { path, folder, files },
        { precision, threads, signal, onNote: note, onProgress },
      );
      const { embedToken } = retriever.prompts;
      const described = {
        ...{ config, tokenizer },
        ...retriever,
        embedId: embedToken === undefined ? undefined : tokenizer.idOf(embedToken),
        stopIds: stopIds(folder),
      };
      return new Model(described, chosen, { stored: { files } }, threads);
    } finally {
      await folder.close();
    }
  }

  /**
   * A model whose weights are in memory, in float32, and stay the caller's own arrays: training changes them in place.
   */
  static of<M extends EmbeddingModel>(
    checkpoint: M,
    { threads }: { threads?: number | undefined } = {},
  ): Model<M> {
    const { weights } = checkpoint;
    const chosen: ChosenWeights = { precision: 'f32', weights: memoryWeights(checkpoint) };
    return new Model(checkpoint, chosen, { stored: { weights }, checkpoint }, threads);
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

  /** What training leaves for those who use the model, or train it further. */
  remember({ limits, split }: { limits?: LengthLimits | undefined; split?: QuerySplit | undefined }): void {
    this.#limits = limits ?? this.#limits;
    this.#split = split ?? this.#split;
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

  /** The weights, for programs of one's own. */
  get inferenceWeights(): InferenceWeights {
    return this.#weights;
  }

  encoder(): Promise<SequenceEncoder> {
    this.#encoder ??= SequenceEncoder.create(this.config, this.#weights, this.#threads);
    return this.#encoder;
  }

  /** @param options are those of the first call. Errors: InputError for heads that cached attention can not take. */
  generator(options: Omit<GeneratorOptions, 'threads'> = {}): Promise<Generator> {
    this.#generator ??= Generator.create(this.config, this.#weights, { ...options, ...this.#threads });
    return this.#generator;
  }

  /**
   * Losses and gradients of an objective, in float32, for the weights of this model. The caller disposes of the engine,
   * and calls `updated` after each update.
   * @param base the other side of a KL term.
   * @throws InputError if the weights are in files.
   */
  trainer(options: EngineOptions, base?: Pick<Checkpoint, 'weights'>): GradientEngine {
    return new GradientEngine(this.checkpoint, { ...this.#threads, ...options }, base);
  }

  /**
   * A model that stays as this one is now, whatever training changes. The caller disposes of it.
   * @throws InputError if the weights are in files.
   */
  frozen(): Model<M> {
    return Model.of(frozenCopy(this.checkpoint), this.#threads);
  }

  /**
   * Writes it as a Hugging Face folder, atomically.
   * @throws InputError as `saveCheckpoint`, and if the weights are in files.
   */
  async save(folder: string, options: SaveCheckpointOptions = {}): Promise<void> {
    await saveCheckpoint(folder, { ...this.checkpoint, limits: this.limits, split: this.split }, options);
  }

  /** What decides its vectors, in parts. Reads the files of the weights once, those in memory after each update. */
  fingerprint(): Promise<Fingerprint> {
    this.#fingerprint ??= fingerprintParts(this, this.#stored, { precision: this.precision });
    return this.#fingerprint;
  }

  /** SHA-256, in hex, of weights and tokenizer: a run is not resumed with another model. */
  async identity(): Promise<string> {
    return checkpointFingerprint(this.checkpoint);
  }

  /** Frees encoder and generator. Asked for again, they are made anew. */
  async dispose(): Promise<void> {
    const [encoder, generator] = [this.#encoder, this.#generator];
    this.#encoder = undefined;
    this.#generator = undefined;
    // What could not be made has nothing to release, and its error was already reported.
    await (await encoder?.catch(() => undefined))?.dispose();
    await (await generator?.catch(() => undefined))?.dispose();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}
