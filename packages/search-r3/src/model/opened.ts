/** Opens a model with weights in files: a folder, a GGUF file, or an adapter folder on its base. */
import {
  type Adapter,
  type EmbeddingUse,
  isAdapterFolder,
  type LoraShape,
  openModel,
  readAdapterFolder,
  refuseMisfit,
  type Stored,
  stopIds,
  storedFiles,
  type Weights,
} from '../checkpoint/index.js';
import { type FrozenWeights, newAdapter, readTokenRows } from '../decoder/index.js';
import type { EmbeddingModel } from './policy.js';
import { type ChoosePrecisionOptions, chooseWeights, type PrecisionChoice } from './precision.js';

/** An adapter to be trained, which changes nothing yet. */
export interface NewAdapter extends LoraShape {
  /** Of its initial values. Default 0. */
  seed?: number | undefined;
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
