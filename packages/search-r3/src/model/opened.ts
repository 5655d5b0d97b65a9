/** Opens a model with weights in files: a folder, a GGUF file, or an adapter folder on its base. */
import { isDeepStrictEqual } from 'node:util';
import {
  type Adapter,
  type EmbeddingFormat,
  type EmbeddingUse,
  isAdapterFolder,
  isTrainable,
  type LoraShape,
  type ModelConfig,
  openModel,
  readAdapter,
  readAdapterFolder,
  refuseMisfit,
  type Stored,
  stopIds,
  storedFiles,
  type Weights,
} from '../checkpoint/index.js';
import { type BLOCK_BITS, type FrozenWeights, newAdapter, readTokenRows } from '../decoder/index.js';
import { InputError } from '../run/index.js';
import type { Adapters } from './adapters.js';
import { type EmbeddingModel, type Policy, untrainable } from './policy.js';
import { type ChoosePrecisionOptions, chooseWeights, type PrecisionChoice } from './precision.js';

/** An adapter to be trained, which changes nothing yet. */
export interface NewAdapter extends LoraShape {
  /** Of its initial values. Default 0. */
  seed?: number | undefined;
}

export interface LoadModelOptions extends EmbeddingUse {
  /**
   * How the model computes. Default `auto`: int8 for 50 million parameters or more if the CPU computes it exactly and
   * the vectors stay close to those of f32, else f32.
   */
  precision?: PrecisionChoice | undefined;
  /** The base of an adapter folder, in place of the one that it names. */
  base?: string | undefined;
  /** Threads inside one operator. Default: as many as physical cores. */
  threads?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Called with each thing that is read differently from what the files say, and with the precision chosen. */
  onNote?: ((text: string) => void) | undefined;
  /** Called while weights are quantised for the first time, with layers done. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface LoadTrainableOptions extends Omit<LoadModelOptions, 'precision'> {
  /** How the trainer computes. Default `auto`, as for `LoadModelOptions`. Blocks have no gradient. */
  precision?: Exclude<PrecisionChoice, keyof typeof BLOCK_BITS> | undefined;
  /** Lay a new adapter over the model. An adapter folder needs none: its own is trained further. */
  adapter?: NewAdapter | undefined;
  /** How encoder and generator compute, where not as the trainer does (`precision`). */
  sampling?: PrecisionChoice | undefined;
}

export interface OpenOptions extends ChoosePrecisionOptions, EmbeddingUse {
  /** Lay a new adapter over it. */
  adapter?: NewAdapter | undefined;
  /** The base of an adapter folder, in place of the one that it names. */
  base?: string | undefined;
  /** The precision to sample in, where another than to train in. */
  sampling?: PrecisionChoice | undefined;
}

/** Everything of a model but its sessions. */
export interface OpenedModel {
  described: Omit<EmbeddingModel, 'weights'>;
  frozen: FrozenWeights;
  /** The same weights to sample with, where in another precision. */
  sampling: FrozenWeights | undefined;
  stored: Stored;
  /** Path of the model, or of the base of its adapter. */
  path: string;
  adapter: Adapter | undefined;
  /** Rows of the embed token in the base, for what has an adapter. */
  rows: Weights;
}

/** @throws InputError as `openModel`, `readAdapterFolder` and `chooseWeights`. */
export async function openForUse(given: string, options: OpenOptions): Promise<OpenedModel> {
  const { prompts, reasoning, recorded, adapter: fresh, base, sampling, ...how } = options;
  const found = (await isAdapterFolder(given)) ? await readAdapterFolder(given, base) : undefined;
  const path = found?.base ?? given;
  const note = (text: string) => options.onNote?.(`${path}: ${text}`);
  const use = { prompts, reasoning, recorded: found?.retriever ?? recorded };
  const folder = await openModel(path, { embedding: use });
  try {
    const { config, tokenizer, retriever } = folder;
    if (retriever === undefined) throw new Error('internal: opened to embed, without a way to');
    for (const text of folder.notes) note(text);
    if (found !== undefined) refuseMisfit(found.adapter, config, given);
    const files = await storedFiles(path, config);
    const open = { path, folder, files };
    const frozen = await chooseWeights(open, { ...how, onNote: note });
    const other = sampling && (await chooseWeights(open, { ...how, precision: sampling, onNote: note }));
    const { embedToken } = retriever.prompts;
    const embedId = embedToken === undefined ? undefined : tokenizer.idOf(embedToken);
    const tokenId = found === undefined ? embedId : found.adapter.tokenId;
    const rows =
      tokenId === undefined || (found === undefined && fresh === undefined)
        ? new Map()
        : await readTokenRows(config, tokenId, folder.readParameter);
    const token = embedId === undefined ? undefined : { id: embedId, rows };
    const { limits, split, matryoshka } = found?.retriever ?? retriever;
    return {
      described: {
        ...{ config, tokenizer },
        ...retriever,
        ...{ limits, split, matryoshka },
        embedId,
        stopIds: stopIds(folder),
      },
      ...{ frozen, sampling: other, path, rows },
      stored: { files },
      adapter: found?.adapter ?? (fresh && newAdapter(config, fresh, { seed: fresh.seed ?? 0, token })),
    };
  } finally {
    await folder.close();
  }
}

/** What describes an opened model that is to be trained. @throws InputError where training does not take it. */
export function describedForTraining(
  { described, adapter }: OpenedModel,
  source: string,
): OpenedModel['described'] & Pick<Policy, 'prompts' | 'embedId'> {
  const { prompts, embedId, preset } = described;
  if (adapter === undefined) {
    throw new InputError({ source, expected: 'an adapter to train (lora)', found: 'none' });
  }
  if (!isTrainable(prompts) || embedId === undefined) throw untrainable(source, prompts, preset);
  return { ...described, prompts, embedId };
}

/**
 * Reads a further adapter for a model that is open.
 * @param path of the model's base.
 * @returns the adapter, and the rows of its token in the base if `others` do not have them.
 * @throws InputError where it does not go with the model.
 */
export async function openAdapter(
  name: string,
  folder: string,
  model: EmbeddingFormat & { config: ModelConfig },
  path: string | undefined,
  others: Adapters,
): Promise<{ adapter: Adapter; rows: Weights }> {
  const { config, prompts, dimensions } = model;
  const refused = (field: string, expected: string, found: string) =>
    new InputError({ source: folder, field, expected, found });
  if (path === undefined) throw refused('adapter', 'a base in files', 'one in memory');
  if (others.names.includes(name)) throw refused('name', 'a name of its own', `${name}, which is taken`);
  const { adapter, retriever } = await readAdapter(folder);
  refuseMisfit(adapter, config, folder);
  if (retriever !== undefined && !sameFormat(retriever, { prompts, dimensions })) {
    throw refused('prompts', 'those of the model', 'others, which need a model of their own');
  }
  const { tokenId } = adapter;
  if (tokenId === undefined || tokenId === others.tokenId) return { adapter, rows: new Map() };
  if (others.tokenId !== undefined) {
    throw refused('trainable_token_indices', `${others.tokenId}, as in the others`, String(tokenId));
  }
  const base = await openModel(path, { embedding: { recorded: model } });
  try {
    return { adapter, rows: await readTokenRows(config, tokenId, base.readParameter) };
  } finally {
    await base.close();
  }
}

/** Whether two ways to embed are one, as a file would hold them. */
function sameFormat(a: EmbeddingFormat, b: EmbeddingFormat): boolean {
  const stored = ({ prompts, dimensions }: EmbeddingFormat): unknown =>
    JSON.parse(JSON.stringify({ prompts, dimensions }));
  return isDeepStrictEqual(stored(a), stored(b));
}
