/**
 * Runs emitted programs with ONNX Runtime in this thread, which is blocked while kernels run: if it must stay
 * responsive, run sessions in a worker thread (see `exit-guard.ts`).
 */
import * as ort from 'onnxruntime-node';
import { type Backend, openBackend, toOrt } from './backend.js';
import { DeviceTensor, type Feeds, type Tensor } from './device.js';
import { type Program, SEQUENCE_OUTPUT } from './emit.js';
import { inKernel } from './exit-guard.js';
import { allocate, FeedError, type HostTensor, Matcher } from './host.js';
import { type Provider, ProviderError } from './provider.js';

export interface SessionOptions {
  /** What runs the program, which must be emitted for it. Default `cpu`. */
  provider?: Provider;
  /** Threads inside one operator. Default: ONNX Runtime's choice (physical cores). */
  threads?: number;
  /** Copy constant weights into the layout that suits the kernels. Default true. */
  prepack?: boolean;
  /** Folder of external data. Default `/`: locations are absolute paths without the leading slash. */
  externalDataFolder?: string;
  /** Write a profile with this file prefix; it ends at `dispose`. */
  profile?: string;
}

/**
 * The 1.30 binding throws this for a sequence output, after ONNX Runtime has filled the preallocated outputs. It has no
 * other way to leave them uncopied, whatever `preferredOutputLocation` says. Its successor returns them as they are, but
 * copies feeds, which separates a cache from its output.
 */
const SEQUENCE_MESSAGE = 'Non tensor type is temporarily not supported';

/** A program ready to run, in this thread. */
export class Session {
  readonly #session: ort.InferenceSession;
  readonly #backend: Backend;
  readonly #bound = new Map<string, { given: Tensor; tensor: ort.Tensor }>();
  readonly #profiled: boolean;
  #disposed = false;
  readonly program: Program;

  private constructor(program: Program, session: ort.InferenceSession, backend: Backend, profiled: boolean) {
    this.program = program;
    this.#backend = backend;
    this.#session = session;
    this.#profiled = profiled;
  }

  /** @throws ProviderError if the provider cannot run here, or the program is emitted for another one. */
  static async create(program: Program, options: SessionOptions = {}): Promise<Session> {
    const { provider = 'cpu' } = options;
    if (provider !== 'cpu' && program.provider !== provider) {
      throw new ProviderError(provider, `${provider}: expected a program emitted for it, found one for cpu`);
    }
    const backend = await openBackend(provider);
    const settings: ort.InferenceSession.SessionOptions = {
      ...(program.inPlace ? backend.inPlaceSettings : backend.settings),
      graphOptimizationLevel: 'all',
      enableMemPattern: false,
      executionMode: 'sequential',
      // Errors are thrown, so ONNX Runtime should not print them too.
      logSeverityLevel: 4,
      ...(options.threads !== undefined && { intraOpNumThreads: options.threads }),
      ...(options.profile !== undefined && { enableProfiling: true, profileFilePrefix: options.profile }),
      extra: {
        session: {
          // Otherwise idle threads of one session spin and slow down the others.
          force_spinning_stop: '1',
          disable_prepacking: options.prepack === false ? '1' : '0',
          model_external_initializers_file_folder_path: options.externalDataFolder ?? '/',
        },
      },
    };
    const session = await inKernel(() => ort.InferenceSession.create(program.bytes, settings));
    return new Session(program, session, backend, options.profile !== undefined);
  }

  /**
   * Keeps tensors (weights) as feeds of all later runs. Tensors that are not inputs of the program are ignored. The
   * memory is shared with the caller: runs see later changes.
   */
  bind(tensors: Feeds): void {
    this.#open('bind');
    for (const [name, given] of Object.entries(tensors)) {
      const expected = this.program.inputs.get(name);
      if (expected === undefined) continue;
      new Matcher('bind').match(name, expected, given);
      this.#bound.set(name, { given, tensor: this.#operand('bind', name, given) });
    }
  }

  /**
   * Runs the program. Bound feeds need not be given again. With `outputs: 'device'`, results stay in the memory of the
   * provider, to be fed to later runs, read or disposed of.
   * @throws FeedError naming the input, what was expected and what was found.
   */
  async run(feeds: Feeds, options: { outputs: 'device' }): Promise<Record<string, DeviceTensor>>;
  async run(feeds: Feeds, options?: { outputs?: 'host' }): Promise<Record<string, HostTensor>>;
  async run(feeds: Feeds, options: { outputs?: 'host' | 'device' } = {}): Promise<Record<string, Tensor>> {
    this.#open('run');
    if (this.program.inPlace) throw new FeedError('run: expected runInPlace for an in-place program');
    const matcher = new Matcher('run');
    const operands = this.#feeds('run', feeds, matcher);
    const names = [...this.program.outputs.keys()];
    const results = await inKernel(() => this.#session.run(operands, names));
    const tensors: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(results)) {
      tensors[name] =
        options.outputs === 'device'
          ? DeviceTensor.of(tensor, this.#backend)
          : await this.#backend.take(tensor);
    }
    return tensors;
  }

  /**
   * Runs an in-place program (`emit` with `inPlace`): outputs are written into the given tensors, without the copy that
   * the binding otherwise makes of each. Other outputs are allocated in JavaScript memory; their sizes must follow from
   * the inputs. An input and an output may share memory if the kernel allows it (key/value caches). Returns all outputs.
   */
  async runInPlace(
    feeds: Feeds,
    outputs?: Readonly<Record<string, HostTensor>>,
  ): Promise<Record<string, HostTensor>>;
  async runInPlace(feeds: Feeds, outputs: Feeds): Promise<Record<string, Tensor>>;
  async runInPlace(feeds: Feeds, outputs: Feeds = {}): Promise<Record<string, Tensor>> {
    this.#open('runInPlace');
    if (!this.program.inPlace) throw new FeedError('runInPlace: expected a program emitted with inPlace');
    const matcher = new Matcher('runInPlace');
    const operands = this.#feeds('runInPlace', feeds, matcher);
    for (const name of Object.keys(outputs)) {
      if (!this.program.outputs.has(name)) {
        throw new FeedError(`runInPlace: the program has no output ${name}`);
      }
    }
    const stops = this.program.provider === 'cpu';
    const fetches: Record<string, ort.Tensor | null> = stops ? { [SEQUENCE_OUTPUT]: null } : {};
    const results: Record<string, Tensor> = {};
    for (const [name, expected] of this.program.outputs) {
      const shape = matcher.resolve(expected.shape);
      const output = outputs[name] ?? (shape && allocate(expected.dtype, shape));
      if (output === undefined) throw new FeedError(`runInPlace: expected memory for the output ${name}`);
      matcher.match(name, expected, output);
      fetches[name] = this.#operand('runInPlace', name, output);
      results[name] = output;
    }
    matcher.finish();
    try {
      await inKernel(() => this.#session.run(operands, fetches as ort.InferenceSession.FetchesType));
    } catch (error) {
      if (stops && error instanceof Error && error.message.includes(SEQUENCE_MESSAGE)) return results;
      throw error;
    }
    if (!stops) return results;
    throw new Error(
      'runInPlace: the binding no longer stops at sequence outputs; outputs may have been copied',
    );
  }

  /** Releases the memory of the program. Later calls throw; a second `dispose` does nothing. */
  async dispose(): Promise<void> {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#bound.clear();
    if (this.#profiled) this.#session.endProfiling();
    await this.#session.release();
  }

  #open(where: string): void {
    if (this.#disposed) throw new Error(`${where}: the session is disposed`);
  }

  #feeds(where: string, feeds: Feeds, matcher: Matcher): Record<string, ort.Tensor> {
    const result: Record<string, ort.Tensor> = {};
    const given = (name: string) => feeds[name] ?? this.#bound.get(name)?.given;
    for (const [name, expected] of this.program.inputs) {
      const tensor = given(name);
      if (tensor === undefined) throw new FeedError(`${where}: the input ${name} is missing`);
      // Check bound memory too: symbols must agree with it, and it may have been transferred meanwhile.
      matcher.match(name, expected, tensor);
      const bound = tensor instanceof DeviceTensor ? undefined : this.#bound.get(name);
      result[name] = bound?.given === tensor ? bound.tensor : this.#operand(where, name, tensor);
    }
    for (const name of Object.keys(feeds)) {
      if (!this.program.inputs.has(name)) throw new FeedError(`${where}: the program has no input ${name}`);
    }
    matcher.finish();
    for (const { input, size, wraps } of this.program.bounds) {
      const tensor = given(input);
      if (tensor === undefined || tensor instanceof DeviceTensor) continue;
      matcher.bound(input, tensor.data, size, wraps);
    }
    return result;
  }

  #operand(where: string, name: string, given: Tensor): ort.Tensor {
    if (!(given instanceof DeviceTensor)) return toOrt(given);
    const { provider } = this.#backend;
    if (given.provider !== provider) {
      throw new FeedError(
        `${where}: ${name}: expected a tensor of ${provider}, found one of ${given.provider}`,
      );
    }
    if (given.tensor === undefined) throw new FeedError(`${where}: ${name}: the tensor is disposed`);
    return given.tensor;
  }
}
