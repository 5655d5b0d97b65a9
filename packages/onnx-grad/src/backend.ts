/** What sessions do differently for each execution provider, on top of the binding of ONNX Runtime. */
import * as ort from 'onnxruntime-node';
import { ARRAY_TYPE, type Dtype } from './dtypes.js';
import { emit } from './emit.js';
import { inKernel } from './exit-guard.js';
import { Graph } from './graph.js';
import { FeedError, type HostTensor, type TensorData } from './host.js';
import { type Provider, ProviderError } from './provider.js';

export interface Backend {
  readonly provider: Provider;
  readonly settings: Pick<
    ort.InferenceSession.SessionOptions,
    'executionProviders' | 'preferredOutputLocation'
  >;
  /** A copy of a tensor in JavaScript memory. */
  read(tensor: ort.Tensor): Promise<HostTensor>;
  /** A tensor in JavaScript memory, without a copy if it is there already; the given one is no longer used. */
  take(tensor: ort.Tensor): Promise<HostTensor>;
}

/** @throws ProviderError if the provider cannot run here. */
export async function openBackend(provider: Provider): Promise<Backend> {
  switch (provider) {
    case 'cpu':
      return CPU;
    case 'webgpu':
      return openWebGpu();
    default:
      return provider satisfies never;
  }
}

const CPU: Backend = {
  provider: 'cpu',
  settings: { executionProviders: ['cpu'] },
  // As from a device: the caller may write to the copy.
  async read(tensor) {
    const { dtype, shape, data } = fromOrt(tensor);
    return { dtype, shape, data: data.slice() };
  },
  take: async (tensor) => fromOrt(tensor),
};

/**
 * Tensors of a GPU are read through programs that return their input: the binding copies the outputs of sessions that
 * have no preferred location for them, whereas `getData()` of a tensor ends the process.
 */
const readers = new Map<string, Promise<ort.InferenceSession>>();

async function reader(dtype: Dtype, rank: number): Promise<ort.InferenceSession> {
  const key = `${dtype} ${rank}`;
  const known = readers.get(key);
  if (known !== undefined) return known;
  const graph = new Graph();
  const shape = Array.from({ length: rank }, (_, axis) => `d${axis}`);
  graph.output('y', graph.input('x', dtype, shape));
  const { bytes } = emit(graph, { provider: 'webgpu' });
  const settings = { executionProviders: ['webgpu'], logSeverityLevel: 4 } as const;
  const opened = inKernel(() => ort.InferenceSession.create(bytes, settings));
  readers.set(key, opened);
  return opened;
}

async function openWebGpu(): Promise<Backend> {
  try {
    await reader('float32', 1);
  } catch (error) {
    throw new ProviderError('webgpu', 'webgpu: expected a GPU with a driver (Vulkan, Metal or Direct3D 12)', {
      cause: error,
    });
  }
  return WEBGPU;
}

const WEBGPU: Backend = {
  provider: 'webgpu',
  settings: { executionProviders: ['webgpu'], preferredOutputLocation: 'gpu-buffer' },
  async read(tensor) {
    const session = await reader(dtypeOf(tensor), tensor.dims.length);
    const { y } = await inKernel(() => session.run({ x: tensor }));
    if (y === undefined) throw new Error('internal: reader without output');
    return fromOrt(y);
  },
  async take(tensor) {
    const copy = await this.read(tensor);
    tensor.dispose();
    return copy;
  },
};

export function toOrt({ dtype, data, shape }: HostTensor): ort.Tensor {
  if (data.buffer instanceof SharedArrayBuffer) {
    throw new FeedError('the binding does not accept tensors on a SharedArrayBuffer; copy them');
  }
  return new ort.Tensor(dtype, data, shape);
}

/** The tensor without a copy. */
export const fromOrt = (tensor: ort.Tensor): HostTensor => ({
  dtype: dtypeOf(tensor),
  shape: tensor.dims,
  data: tensor.data as TensorData,
});

export function dtypeOf({ type }: ort.Tensor): Dtype {
  if (isDtype(type)) return type;
  throw new Error(`internal: a result has the dtype ${type}`);
}

const isDtype = (type: string): type is Dtype => type in ARRAY_TYPE;
