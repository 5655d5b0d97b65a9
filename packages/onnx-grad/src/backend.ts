/** What sessions do differently for each execution provider, on top of the binding of ONNX Runtime. */
import * as ort from 'onnxruntime-node';
import { ARRAY_TYPE, type Dtype, type TensorData } from './dtypes.js';
import { emit } from './emit.js';
import { inKernel } from './exit-guard.js';
import { Graph } from './graph.js';
import { FeedError, type HostTensor } from './host.js';
import { type Provider, ProviderError } from './provider.js';

type SessionSettings = Pick<
  ort.InferenceSession.SessionOptions,
  'executionProviders' | 'preferredOutputLocation'
>;

export interface Backend {
  readonly provider: Provider;
  readonly settings: SessionSettings;
  /** For programs whose outputs go into given memory: a preferred location would override it. */
  readonly inPlaceSettings: SessionSettings;
  /** A copy in the memory of the provider. */
  upload(tensor: HostTensor): Promise<ort.Tensor>;
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

const onCpu: SessionSettings = { executionProviders: ['cpu'] };
const copyOf = ({ dtype, shape, data }: HostTensor): HostTensor => ({ dtype, shape, data: data.slice() });

/** Memory of the CPU is copied as that of a device is: the caller may write to either copy. */
const CPU: Backend = {
  provider: 'cpu',
  settings: onCpu,
  inPlaceSettings: onCpu,
  upload: async (tensor) => toOrt(copyOf(tensor)),
  read: async (tensor) => copyOf(fromOrt(tensor)),
  take: async (tensor) => fromOrt(tensor),
};

const toHost: SessionSettings = { executionProviders: ['webgpu'] };
const toDevice: SessionSettings = { ...toHost, preferredOutputLocation: 'gpu-buffer' };

/**
 * Tensors go to a GPU and back through programs that return their input, whose sessions differ in the location of
 * outputs. (`getData()` of a tensor on a GPU ends the process.)
 */
const copiers = new Map<string, Promise<ort.InferenceSession>>();

async function copyThrough(settings: SessionSettings, tensor: ort.Tensor): Promise<ort.Tensor> {
  const rank = tensor.dims.length;
  const key = `${tensor.type} ${rank} ${settings.preferredOutputLocation}`;
  let copier = copiers.get(key);
  if (copier === undefined) {
    const graph = new Graph();
    const shape = Array.from({ length: rank }, (_, axis) => `d${axis}`);
    graph.output('y', graph.input('x', dtypeOf(tensor), shape));
    const { bytes } = emit(graph, { provider: 'webgpu' });
    copier = inKernel(() => ort.InferenceSession.create(bytes, { ...settings, logSeverityLevel: 4 }));
    copiers.set(key, copier);
  }
  const session = await copier;
  const { y } = await inKernel(() => session.run({ x: tensor }));
  if (y === undefined) throw new Error('internal: copier without output');
  return y;
}

async function openWebGpu(): Promise<Backend> {
  try {
    await copyThrough(toHost, new ort.Tensor('float32', Float32Array.of(0), [1]));
  } catch (error) {
    throw new ProviderError('webgpu', 'webgpu: expected a GPU with a driver (Vulkan, Metal or Direct3D 12)', {
      cause: error,
    });
  }
  return WEBGPU;
}

const WEBGPU: Backend = {
  provider: 'webgpu',
  settings: toDevice,
  inPlaceSettings: toHost,
  upload: (tensor) => copyThrough(toDevice, toOrt(tensor)),
  read: async (tensor) => fromOrt(await copyThrough(toHost, tensor)),
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
  if (dtype === 'bfloat16') throw new FeedError('the binding does not accept bfloat16 tensors; cast them');
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
