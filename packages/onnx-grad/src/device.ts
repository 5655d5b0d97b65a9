/** Tensors that stay in the memory of a provider: results that only feed later runs need not be copied out and in. */
import type * as ort from 'onnxruntime-node';
import { type Backend, dtypeOf, openBackend } from './backend.js';
import type { Dtype } from './dtypes.js';
import type { HostTensor } from './host.js';
import type { Provider } from './provider.js';

/** The memory of a device tensor and the provider that it belongs to. */
interface DeviceMemory {
  readonly tensor: ort.Tensor;
  readonly backend: Backend;
}

/**
 * A tensor in the memory of a provider: a copy (`toDevice`), or a result that was left where it was computed
 * (`session.run` with `outputs: 'device'`). Feed it to any session of the same provider in the same thread. Dispose of it
 * after these runs: the memory of a GPU is not garbage-collected.
 */
export class DeviceTensor {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly provider: Provider;
  #memory: DeviceMemory | undefined;

  private constructor(memory: DeviceMemory) {
    this.dtype = dtypeOf(memory.tensor);
    this.shape = memory.tensor.dims;
    this.provider = memory.backend.provider;
    this.#memory = memory;
  }

  /** @internal */
  static of(tensor: ort.Tensor, backend: Backend): DeviceTensor {
    return new DeviceTensor({ tensor, backend });
  }

  /** Whether the memory was given back. */
  get disposed(): boolean {
    return this.#memory === undefined;
  }

  /** @internal Undefined once it is disposed of. */
  get tensor(): ort.Tensor | undefined {
    return this.#memory?.tensor;
  }

  /** A copy in JavaScript memory. @throws Error after `dispose`. */
  async read(): Promise<HostTensor> {
    if (this.#memory === undefined) throw new Error('read: the tensor is disposed');
    return this.#memory.backend.read(this.#memory.tensor);
  }

  /** Gives the memory back. A second call does nothing. */
  dispose(): void {
    this.#memory?.tensor.dispose();
    this.#memory = undefined;
  }
}

/**
 * A copy of a tensor in the memory of a provider.
 * @throws ProviderError if the provider cannot run here.
 */
export async function toDevice(tensor: HostTensor, provider: Provider): Promise<DeviceTensor> {
  const backend = await openBackend(provider);
  return DeviceTensor.of(await backend.upload(tensor), backend);
}

/** A tensor in JavaScript memory or on a device. */
export type Tensor = HostTensor | DeviceTensor;

/** Tensors by the names of inputs. */
export type Feeds = Readonly<Record<string, Tensor>>;
