/** Adapter folders: PEFT's two files, and what makes an adapter a retriever on its base (tokenizer, `search_r3.json`). */
import { readdir } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { InputError } from '../../run/errors.js';
import { exists, publishFolder, writeJsonAtomic } from '../../run/files.js';
import type { Tokenizer } from '../../tokenizer/index.js';
import { MODEL_FOLDER } from '../checkpoint.js';
import type { ModelConfig } from '../config.js';
import { type Adapter, LINEAR_KINDS, type LinearKind, loraA, loraB } from '../lora.js';
import { elementCount, parameterShapes, type Weights } from '../parameters.js';
import { loadRetrieverFile, PROMPTS_FILE, type RetrieverFile, saveRetrieverFile } from '../retriever-file.js';
import { openSafetensors } from '../safetensors.js';
import { writeSafetensors } from '../safetensors-writer.js';
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from '../weight-files.js';
import { peftConfig, readPeftConfig } from './config.js';
import { adapterName, peftName } from './names.js';

/** An adapter and what its folder says besides. */
export interface AdapterFolder {
  adapter: Adapter;
  /** Where its base is: a folder or a file that exists. */
  base: string;
  /** How it embeds; undefined for an adapter that was not trained here. */
  retriever: RetrieverFile | undefined;
}

export const isAdapterFolder = (path: string): Promise<boolean> => exists(join(path, ADAPTER_CONFIG));

/** An adapter and what its folder says besides, with its base as the folder names it. */
export interface ReadAdapter extends Omit<AdapterFolder, 'base'> {
  base: string | undefined;
}

/** Reads an adapter folder without looking for its base. @throws InputError for an adapter of another kind. */
export async function readAdapter(folder: string): Promise<ReadAdapter> {
  const { base, ...shape } = await readPeftConfig(join(folder, ADAPTER_CONFIG));
  const weights = await readTensors(folder, shape);
  const retriever = (await exists(join(folder, PROMPTS_FILE))) ? await loadRetrieverFile(folder) : undefined;
  return { adapter: { ...shape, weights }, base, retriever };
}

/**
 * Reads an adapter folder and finds its base.
 * @param base in place of the one that it names.
 * @throws InputError for an adapter of another kind, a missing base, or tensors that do not belong together.
 */
export async function readAdapterFolder(folder: string, base?: string): Promise<AdapterFolder> {
  const read = await readAdapter(folder);
  return { ...read, base: base ?? (await resolvedBase(read.base, folder, join(folder, ADAPTER_CONFIG))) };
}

async function resolvedBase(named: string | undefined, folder: string, source: string): Promise<string> {
  const places = named === undefined ? [] : [named, ...(isAbsolute(named) ? [] : [join(folder, named)])];
  for (const place of places) if (await exists(place)) return resolve(place);
  throw new InputError({
    source,
    field: 'base_model_name_or_path',
    expected: 'a folder or a file with the base model',
    found: named ?? 'nothing',
    remedy: 'Give the folder of the base model (--base).',
  });
}

async function readTensors(folder: string, shape: Omit<Adapter, 'weights'>): Promise<Weights> {
  const path = join(folder, ADAPTER_WEIGHTS);
  if (!(await exists(path))) {
    const names = (await readdir(folder)).filter((name) => name.startsWith('adapter_model'));
    throw new InputError({
      source: folder,
      expected: ADAPTER_WEIGHTS,
      found: names[0] ?? 'none',
      ...(names.length > 0 && { remedy: 'Save it again with PEFT, which writes safetensors by default.' }),
    });
  }
  const file = await openSafetensors(path);
  try {
    const weights: Weights = new Map();
    for (const name of file.entries.keys()) {
      const own = adapterName(name);
      if (own === undefined) {
        throw new InputError({ source: path, expected: 'LoRA pairs of linear layers', found: name });
      }
      weights.set(own, await file.read(name));
    }
    if (shape.tokenId === undefined || [...weights.keys()].some((name) => name.endsWith('[embed]')))
      return weights;
    const expected = 'the rows of the tokens that adapter_config.json lists';
    throw new InputError({ source: path, field: 'trainable_tokens_delta', expected, found: 'none' });
  } finally {
    await file.close();
  }
}

/**
 * Checks that an adapter fits a base: each pair has its rank and the sizes of its layer, and none is missing.
 * @throws InputError naming the first tensor that does not.
 */
export function refuseMisfit(adapter: Adapter, config: ModelConfig, source: string): void {
  const shapes = parameterShapes(config);
  const wanted = new Map<string, readonly number[]>();
  for (const [name, [outputs = 0, inputs = 0]] of shapes) {
    const linear = name.replace(/\.weight$/, '');
    if (!adapter.targets.some((kind: LinearKind) => name.endsWith(`.${kind}.weight`))) continue;
    wanted.set(loraA(linear), [adapter.rank, inputs]).set(loraB(linear), [outputs, adapter.rank]);
  }
  if (adapter.tokenId !== undefined && adapter.tokenId >= config.vocabSize) {
    const expected = `an id below the ${config.vocabSize} rows of the base's embedding`;
    const field = 'trainable_token_indices';
    throw new InputError({ source, field, expected, found: String(adapter.tokenId) });
  }
  const isPair = (name: string) => LINEAR_KINDS.some((kind) => name.includes(`.${kind}.`));
  for (const name of new Set([...wanted.keys(), ...[...adapter.weights.keys()].filter(isPair)])) {
    const expected = wanted.get(name);
    const tensor = adapter.weights.get(name);
    const found = tensor?.shape;
    if (expected !== undefined && found?.join() === expected.join()) continue;
    const show = (shape: readonly number[] | undefined) =>
      shape === undefined ? 'no such tensor' : `[${shape.join(', ')}]`;
    throw new InputError({ source, field: name, expected: show(expected), found: show(found) });
  }
  for (const [name, { data, shape }] of adapter.weights) {
    if (name.endsWith('[embed]') && elementCount(shape) !== config.hiddenSize) {
      const expected = `${config.hiddenSize} numbers`;
      throw new InputError({ source, field: name, expected, found: String(data.length) });
    }
    if (!data.every(Number.isFinite)) {
      throw new InputError({ source, field: name, expected: 'finite numbers', found: 'others' });
    }
  }
}

/** What an adapter folder holds besides the adapter. */
export interface AdapterContext {
  /** Path of the base model. */
  base: string;
  tokenizer: Tokenizer;
  retriever: RetrieverFile;
}

/**
 * Writes an adapter folder, atomically: what PEFT reads, the tokenizer and how the model embeds.
 * @throws InputError if the folder holds something other than a model, or a model and `overwrite` is not set.
 */
export async function writeAdapterFolder(
  folder: string,
  adapter: Adapter,
  { base, tokenizer, retriever }: AdapterContext,
  { overwrite = false }: { overwrite?: boolean | undefined } = {},
): Promise<void> {
  await publishFolder(
    folder,
    async (at) => {
      await writeJsonAtomic(join(at, ADAPTER_CONFIG), peftConfig(adapter, resolve(base)));
      await writeSafetensors(
        join(at, ADAPTER_WEIGHTS),
        new Map([...adapter.weights].map(([name, tensor]) => [peftName(name), tensor])),
      );
      await tokenizer.save(at);
      await saveRetrieverFile(at, retriever);
    },
    { replace: overwrite, kind: MODEL_FOLDER },
  );
}
