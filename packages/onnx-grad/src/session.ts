/**
 * Runs emitted programs with ONNX Runtime in this thread. The binding blocks the thread while kernels run; use
 * `WorkerSession` if the thread must stay responsive.
 */
import * as ort from 'onnxruntime-node';
import { type Program, SEQUENCE_OUTPUT } from './emit.js';
import { inKernel } from './exit-guard.js';
import { allocate, FeedError, type Feeds, type HostTensor, Matcher, type TensorData } from './host.js';

export interface SessionOptions {
  /** Threads inside one operator. Default: ONNX Runtime's choice (physical cores). */
  threads?: number;
  /** Copy constant weights into the layout that suits the kernels. Default true. */
  prepack?: boolean;
  /** Folder of external data. Default `/`: locations are absolute paths without the leading slash. */
  externalDataFolder?: string;
  /** Write a profile with this file prefix; it ends at `dispose`. */
  profile?: string;
}

/** The 1.30 binding throws this for a sequence output, after ONNX Runtime has filled the preallocated outputs. */
const SEQUENCE_MESSAGE = 'Non tensor type is temporarily not supported';

export interface RunOptions {
  /** Aborting rejects with the signal's reason. In this thread it only keeps kernels from starting. */
  signal?: AbortSignal;
}

/** The common interface of `Session` and `WorkerSession`. */
export interface RunnableSession {
  readonly program: Program;
  /** Keeps tensors (weights) as feeds of all later runs. Tensors that are not inputs of the program are ignored. */
  bind(tensors: Feeds): void | Promise<void>;
  /**
   * Runs the program. Bound feeds need not be given again.
   * @throws FeedError naming the input, what was expected and what was found.
   */
  run(feeds: Feeds, options?: RunOptions): Promise<Record<string, HostTensor>>;
  /** Releases the memory of the program. Later calls throw; a second `dispose` does nothing. */
  dispose(): Promise<void>;
}

/** A program ready to run, in this thread. */
export class Session implements RunnableSession {
  readonly #session: ort.InferenceSession;
  readonly #bound = new Map<string, { tensor: ort.Tensor; host: HostTensor }>();
  readonly #profiled: boolean;
  #disposed = false;
  readonly program: Program;

  private constructor(program: Program, session: ort.InferenceSession, profiled: boolean) {
    this.program = program;
    this.#session = session;
    this.#profiled = profiled;
  }

  static async create(program: Program, options: SessionOptions = {}): Promise<Session> {
    const settings: ort.InferenceSession.SessionOptions = {
      executionProviders: ['cpu'],
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
    return new Session(program, session, options.profile !== undefined);
  }

  /** See `RunnableSession`. The memory is shared with the caller: runs see later changes. */
  bind(tensors: Feeds): void {
    this.#open('bind');
    for (const [name, host] of Object.entries(tensors)) {
      const expected = this.program.inputs.get(name);
      if (expected === undefined) continue;
      new Matcher('bind').match(name, expected, host);
      this.#bound.set(name, { tensor: toOrt(host), host });
    }
  }

  async run(feeds: Feeds, options: RunOptions = {}): Promise<Record<string, HostTensor>> {
    this.#open('run');
    if (this.program.inPlace) throw new FeedError('run: expected runInPlace for an in-place program');
    options.signal?.throwIfAborted();
    const matcher = new Matcher('run');
    const operands = this.#feeds('run', feeds, matcher);
    matcher.finish();
    const names = [...this.program.outputs.keys()];
    const results = await inKernel(() => this.#session.run(operands, names));
    return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, fromOrt(name, tensor)]));
  }

  /**
   * Runs an in-place program (`emit` with `inPlace`): outputs are written into the given arrays, without the copy that
   * the binding otherwise makes of each. Other outputs are allocated; their sizes must follow from the inputs. An input
   * and an output may share memory if the kernel allows it (key/value caches). Returns all outputs.
   */
  async runInPlace(feeds: Feeds, outputs: Feeds = {}): Promise<Record<string, HostTensor>> {
    this.#open('runInPlace');
    if (!this.program.inPlace) throw new FeedError('runInPlace: expected a program emitted with inPlace');
    const matcher = new Matcher('runInPlace');
    const operands = this.#feeds('runInPlace', feeds, matcher);
    for (const name of Object.keys(outputs)) {
      if (!this.program.outputs.has(name)) {
        throw new FeedError(`runInPlace: the program has no output ${name}`);
      }
    }
    const fetches: Record<string, ort.Tensor | null> = { [SEQUENCE_OUTPUT]: null };
    const results: Record<string, HostTensor> = {};
    for (const [name, expected] of this.program.outputs) {
      const shape = matcher.resolve(expected.shape);
      const output = outputs[name] ?? (shape && allocate(expected.dtype, shape));
      if (output === undefined) throw new FeedError(`runInPlace: expected memory for the output ${name}`);
      matcher.match(name, expected, output);
      fetches[name] = toOrt(output);
      results[name] = output;
    }
    matcher.finish();
    try {
      await inKernel(() => this.#session.run(operands, fetches as ort.InferenceSession.FetchesType));
    } catch (error) {
      if (error instanceof Error && error.message.includes(SEQUENCE_MESSAGE)) return results;
      throw error;
    }
    throw new Error(
      'runInPlace: the binding no longer stops at sequence outputs; outputs may have been copied',
    );
  }

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
    for (const [name, expected] of this.program.inputs) {
      const given = feeds[name];
      const bound = this.#bound.get(name);
      const host = given ?? bound?.host;
      if (host === undefined) throw new FeedError(`${where}: the input ${name} is missing`);
      // Check bound memory too: symbols must agree with it, and it may have been transferred meanwhile.
      matcher.match(name, expected, host);
      result[name] = given === undefined && bound !== undefined ? bound.tensor : toOrt(host);
    }
    for (const name of Object.keys(feeds)) {
      if (!this.program.inputs.has(name)) throw new FeedError(`${where}: the program has no input ${name}`);
    }
    return result;
  }
}

function toOrt({ dtype, data, shape }: HostTensor): ort.Tensor {
  if (data.buffer instanceof SharedArrayBuffer) {
    throw new FeedError('the binding does not accept tensors on a SharedArrayBuffer; copy them');
  }
  return new ort.Tensor(dtype, data, shape);
}

function fromOrt(name: string, tensor: ort.Tensor): HostTensor {
  const dtype = tensor.type;
  if (dtype !== 'float32' && dtype !== 'int64' && dtype !== 'int32' && dtype !== 'bool') {
    throw new Error(`internal: output ${name} has dtype ${dtype}`);
  }
  return { dtype, shape: tensor.dims, data: tensor.data as TensorData };
}
