/** Execution providers: what runs the kernels of a program, and in whose memory its tensors are. */

/** `cpu` is the tested provider. `webgpu` runs on a GPU through Vulkan, Metal or Direct3D 12. */
export type Provider = 'cpu' | 'webgpu';

/** A provider that cannot run here, or not what was asked of it. */
export class ProviderError extends Error {
  override readonly name = 'ProviderError';
  readonly provider: Provider;

  constructor(provider: Provider, message: string, options?: ErrorOptions) {
    super(message, options);
    this.provider = provider;
  }
}
