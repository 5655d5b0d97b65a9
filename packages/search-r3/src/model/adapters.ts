/** The adapters of a model: several on one base, of which one is in use, in sessions that fit them all. */
import { createHash } from 'node:crypto';
import type { HostTensor } from 'onnx-grad';
import { type Adapter, LINEAR_KINDS, type ModelConfig, type Weights } from '../checkpoint/index.js';
import { type AdapterForm, adapterFeeds } from '../decoder/index.js';
import { InputError } from '../run/index.js';

/** The name of the adapter that a model was loaded with, as in PEFT. */
export const DEFAULT_ADAPTER = 'default';

export class Adapters {
  readonly #config: ModelConfig;
  readonly #named = new Map<string, Adapter>();
  #current: Adapter | undefined;
  #rows: Weights;

  /** @param rows of the adapter's token in the base (`readTokenRows`). */
  constructor(config: ModelConfig, first?: Adapter, rows: Weights = new Map()) {
    this.#config = config;
    this.#current = first;
    this.#rows = rows;
    if (first !== undefined) this.#named.set(DEFAULT_ADAPTER, first);
  }

  /** The one in use; undefined for the base alone. */
  get current(): Adapter | undefined {
    return this.#current;
  }

  get names(): string[] {
    return [...this.#named.keys()];
  }

  /** Rows of the adapters' token in the base. */
  get rows(): Weights {
    return this.#rows;
  }

  /** The token whose rows one of them has. */
  get tokenId(): number | undefined {
    return [...this.#named.values()].find(({ tokenId }) => tokenId !== undefined)?.tokenId;
  }

  /** What a program needs to compute with each of them; undefined where there is none. */
  get form(): AdapterForm | undefined {
    const all = [...this.#named.values()];
    if (all.length === 0) return undefined;
    const targets = LINEAR_KINDS.filter((kind) => all.some((adapter) => adapter.targets.includes(kind)));
    return { targets, tokenId: this.tokenId };
  }

  /** The feeds of a program of `form` for the one in use, by reference. */
  get feeds(): Record<string, HostTensor> {
    const { form } = this;
    return form === undefined ? {} : adapterFeeds(this.#config, form, this.#current, this.#rows);
  }

  /** What tells the one in use from others: 16 hex digits of its SHA-256. */
  get identity(): string | undefined {
    return this.#current && adapterHash(this.#current).slice(0, 16);
  }

  /** @param rows of its token in the base, unless another one with that token is here. */
  add(name: string, adapter: Adapter, rows: Weights): void {
    this.#named.set(name, adapter);
    if (this.#rows.size === 0) this.#rows = rows;
  }

  /** @throws InputError for an unknown name. */
  use(name: string | undefined): void {
    const adapter = name === undefined ? undefined : this.#named.get(name);
    if (name !== undefined && adapter === undefined) {
      const known = this.names.length === 0 ? 'an adapter, of which there is none' : this.names.join(' or ');
      throw new InputError({ source: 'adapter', expected: known, found: name });
    }
    this.#current = adapter;
  }
}

/** SHA-256, in hex. */
function adapterHash({ weights, rank, alpha, rsLora, targets, tokenId }: Adapter): string {
  const hash = createHash('sha256').update(JSON.stringify([rank, alpha, rsLora, targets, tokenId]));
  for (const [name, { data }] of [...weights].sort(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(name).update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  }
  return hash.digest('hex');
}
