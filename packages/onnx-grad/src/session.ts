/**
 * Runs emitted programs with ONNX Runtime in this thread. `run` occupies the thread while kernels work (that is how the
 * binding is made): use `worker.ts` where something else must stay responsive.
 */
import * as ort from 'onnxruntime-node';
import type { Shape } from './dims.js';
import { type Program, SEQUENCE_OUTPUT } from './emit.js';
import type { Dtype } from './graph.js';

export type TensorData = Float32Array | BigInt64Array | Int32Array | Uint8Array;

/** A tensor in JavaScript memory, row-major. */
export interface HostTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export type Feeds = Readonly<Record<string, HostTensor>>;

export interface SessionOptions {
  /** Threads inside one operator. Default: ONNX Runtime's choice (physical cores). */
  threads?: number;
  /** Keep copies of weights in the layout the kernels like best; for programs with constant weights. Default true. */
  prepack?: boolean;
  /** Folder against which external data is resolved. Default `/`: locations are absolute paths without the slash. */
  externalDataFolder?: string;
  /** Writes a profile with this file prefix (ends at `dispose`). */
  profile?: string;
}

/** A run was given something the program does not take. */
export class FeedError extends Error {
  override readonly name = 'FeedError';
}

const ARRAY_TYPE = {
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;

/** What the 1.30 binding throws for a sequence output, after ONNX Runtime has filled the preallocated ones. */
const SEQUENCE_MESSAGE = 'Non tensor type is temporarily not supported';

function fits(expected: Shape, found: readonly number[], symbols: Map<string, number>): boolean {
  if (expected.length !== found.length) return false;
  return expected.every((dim, axis) => {
    const size = found[axis] as number;
    if (typeof dim === 'number') return dim === size;
    if (dim.includes('*')) return true;
    const known = symbols.get(dim);
    if (known !== undefined) return known === size;
    symbols.set(dim, size);
    return true;
  });
}

/** A program ready to run. */
export class Session {
  readonly #session: ort.InferenceSession;
  readonly #bound = new Map<string, { tensor: ort.Tensor; host: HostTensor }>();
  readonly program: Program;

  private constructor(program: Program, session: ort.InferenceSession) {
    this.program = program;
    this.#session = session;
  }

  static async create(program: Program, options: SessionOptions = {}): Promise<Session> {
    const session = await ort.InferenceSession.create(program.bytes, {
      executionProviders: ['cpu'],
      graphOptimizationLevel: 'all',
      enableMemPattern: false,
      executionMode: 'sequential',
      logSeverityLevel: 3,
      ...(options.threads !== undefined && { intraOpNumThreads: options.threads }),
      ...(options.profile !== undefined && { enableProfiling: true, profileFilePrefix: options.profile }),
      extra: {
        session: {
          // Otherwise the idle threads of one session spin and slow the others down.
          force_spinning_stop: '1',
          disable_prepacking: options.prepack === false ? '1' : '0',
          model_external_initializers_file_folder_path: options.externalDataFolder ?? '/',
        },
      },
    });
    return new Session(program, session);
  }

  /** Keeps tensors (weights) as feeds of every following run. The memory is shared: later changes to it are seen. */
  bind(feeds: Feeds): void {
    for (const [name, host] of Object.entries(feeds)) {
      if (!this.program.inputs.has(name)) continue;
      this.#check(name, host, new Map());
      this.#bound.set(name, { tensor: toOrt(host), host });
    }
  }

  /**
   * Runs the program. Feeds that were bound need not be given again. Errors: `FeedError` naming the input, what was
   * expected and what was found.
   */
  async run(feeds: Feeds): Promise<Record<string, HostTensor>> {
    if (this.program.inPlace) throw new FeedError('run: expected runInPlace for an in-place program');
    const results = await this.#session.run(this.#feeds(feeds), [...this.program.outputs.keys()]);
    return Object.fromEntries(Object.entries(results).map(([name, tensor]) => [name, fromOrt(name, tensor)]));
  }

  /**
   * Runs an in-place program (`emit` with `inPlace`): every output is written into the given arrays, without the copy
   * that the binding otherwise makes of each. An input and an output may share memory where the kernel allows it
   * (key/value caches).
   */
  async runInPlace(feeds: Feeds, outputs: Feeds): Promise<void> {
    const fetches: Record<string, ort.Tensor | null> = { [SEQUENCE_OUTPUT]: null };
    for (const name of this.program.outputs.keys()) {
      const output = outputs[name];
      if (output === undefined) throw new FeedError(`runInPlace: expected memory for the output ${name}`);
      fetches[name] = toOrt(output);
    }
    try {
      await this.#session.run(this.#feeds(feeds), fetches as ort.InferenceSession.FetchesType);
    } catch (error) {
      if (error instanceof Error && error.message.includes(SEQUENCE_MESSAGE)) return;
      throw error;
    }
    throw new Error(
      'runInPlace: the binding no longer stops at sequence outputs; outputs may have been copied',
    );
  }

  async dispose(): Promise<void> {
    this.#bound.clear();
    await this.#session.release();
  }

  #feeds(feeds: Feeds): Record<string, ort.Tensor> {
    const symbols = new Map<string, number>();
    const result: Record<string, ort.Tensor> = {};
    for (const name of this.program.inputs.keys()) {
      const host = feeds[name];
      if (host !== undefined) {
        this.#check(name, host, symbols);
        result[name] = toOrt(host);
        continue;
      }
      const bound = this.#bound.get(name);
      if (bound === undefined) throw new FeedError(`run: the input ${name} is missing`);
      result[name] = bound.tensor;
    }
    for (const name of Object.keys(feeds)) {
      if (!this.program.inputs.has(name)) throw new FeedError(`run: the program has no input ${name}`);
    }
    return result;
  }

  #check(name: string, host: HostTensor, symbols: Map<string, number>): void {
    const expected = this.program.inputs.get(name);
    if (expected === undefined) throw new FeedError(`run: the program has no input ${name}`);
    if (!(host.data instanceof ARRAY_TYPE[expected.dtype]) || host.dtype !== expected.dtype) {
      throw new FeedError(
        `run: ${name}: expected ${expected.dtype}, found ${host.dtype} in ${host.data.constructor.name}`,
      );
    }
    const size = host.shape.reduce((a, b) => a * b, 1);
    if (!fits(expected.shape, host.shape, symbols) || size !== host.data.length) {
      throw new FeedError(
        `run: ${name}: expected [${expected.shape.join(', ')}], found [${host.shape.join(', ')}] with ${host.data.length} elements`,
      );
    }
  }
}

const toOrt = ({ dtype, data, shape }: HostTensor): ort.Tensor => new ort.Tensor(dtype, data, shape);

function fromOrt(name: string, tensor: ort.Tensor): HostTensor {
  const dtype = tensor.type;
  if (dtype !== 'float32' && dtype !== 'int64' && dtype !== 'int32' && dtype !== 'bool') {
    throw new Error(`internal: output ${name} has dtype ${dtype}`);
  }
  return { dtype, shape: tensor.dims, data: tensor.data as TensorData };
}

/** A float32 tensor. */
export const f32 = (data: Float32Array, shape: readonly number[]): HostTensor => ({
  dtype: 'float32',
  shape,
  data,
});

/** An int64 tensor from ordinary numbers. */
export const i64 = (values: ArrayLike<number>, shape: readonly number[]): HostTensor => ({
  dtype: 'int64',
  shape,
  data: BigInt64Array.from(values as number[], BigInt),
});

/** The numbers of a float32 result; a TypeError for anything else. */
export function floats(tensor: HostTensor | undefined): Float32Array {
  if (!(tensor?.data instanceof Float32Array)) throw new TypeError('floats: expected a float32 tensor');
  return tensor.data;
}
