/** A model in one GGUF file (docs/decisions/011-gguf-files.md). */
import type { FileHandle } from 'node:fs/promises';
import type { LoadTokenizerOptions, Tokenizer } from '../../tokenizer/index.js';
import type { ReadConfig } from '../config.js';
import { architectureOf, configOf } from './config.js';
import { openGgufFile } from './file.js';
import type { GgufTensor } from './header.js';
import { Metadata } from './metadata.js';
import { type GgufTensors, ggufTensors } from './tensors.js';
import { tokenizerOf } from './tokenizer.js';

/** Divisors of the rotary frequencies, which belong to the configuration. */
const FREQUENCIES = 'rope_freqs.weight';

export interface GgufModel {
  declared: ReadConfig;
  tokenizer: Tokenizer;
  /** What `generation_config.json` would hold. */
  generation: { eos_token_id: number[] };
  stored: GgufTensors;
}

/** Reads everything but the weights. @throws InputError if the file is invalid, or holds a model of another kind. */
export async function openGguf(path: string, options: LoadTokenizerOptions = {}): Promise<GgufModel> {
  const { file, metadata: values, tensors } = await openGgufFile(path);
  try {
    const metadata = new Metadata(values, path);
    const architecture = architectureOf(metadata);
    const { tokenizer, ids, ends, notes } = tokenizerOf(metadata, options);
    const frequencyFactors = await readFrequencies(file, tensors, path);
    const tokens = tokenizer.vocabSize;
    const declared = configOf({ metadata, tensors, frequencyFactors, tokens, ids });
    const { heads, kvHeads } = declared.config;
    const parameters = new Map([...tensors].filter(([name]) => name !== FREQUENCIES));
    return {
      declared: { ...declared, notes: [...declared.notes, ...notes] },
      tokenizer,
      generation: { eos_token_id: ends },
      stored: ggufTensors(file, parameters, { architecture, heads, kvHeads }, path),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function readFrequencies(
  file: FileHandle,
  tensors: ReadonlyMap<string, GgufTensor>,
  path: string,
): Promise<Float32Array | undefined> {
  if (!tensors.has(FREQUENCIES)) return undefined;
  const source = ggufTensors(file, tensors, { architecture: '', heads: 0, kvHeads: 0 }, path);
  return (await source.read(FREQUENCIES)).data;
}
