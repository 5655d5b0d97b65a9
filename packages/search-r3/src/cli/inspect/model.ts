/** Architecture and parameter counts of a model, from its config and the headers of its weights alone. */
import { join } from 'node:path';
import { loadConfig, type ModelConfig } from '../../checkpoint/config.js';
import { elementCount, parameterShapes } from '../../checkpoint/parameters.js';
import { loadPrompts, PROMPTS_FILE } from '../../checkpoint/prompts.js';
import { openSafetensors, openWeights, type TensorSource } from '../../checkpoint/safetensors.js';
import { readIfThere } from '../../run/files.js';
import type { Inspection } from './inspection.js';
import { bytes, pairs, table } from './text.js';

interface Tensors {
  tensors: number;
  parameters: number;
  bytes: number;
  /** Stored type -> number of parameters. */
  dtypes: Record<string, number>;
}

export async function inspectModel(path: string): Promise<Inspection> {
  const config = await loadConfig(path);
  const weights = await openWeights(path);
  const stored = summarise(weights);
  const problems = compare(config, weights);
  await weights.close();
  const { raw: _, ...shape } = config;
  // A base model has none.
  const retriever = await readIfThere(join(path, PROMPTS_FILE), () => loadPrompts(path));
  const { limits = null, split = null } = retriever ?? {};
  const value = { kind: 'model', path, config: shape, limits, split, ...stored, problems };
  return {
    value,
    text: () =>
      [
        `Model ${path}`,
        pairs([
          ['architecture', config.architecture],
          ['layers', config.layers],
          ['hidden size', config.hiddenSize],
          ['intermediate size', config.intermediateSize],
          ['heads (keys and values)', `${config.heads} (${config.kvHeads})`],
          ['vocabulary', config.vocabSize],
          ['tied output head', config.tieWordEmbeddings ? 'yes' : 'no'],
          ['longest sequence', config.maxPositions],
          ['longest prompt trained with', limits?.maxLength ?? 'not recorded'],
          ['longest reasoning trained with', limits?.maxNewTokens ?? 'not recorded'],
          ...tensorPairs(stored),
        ]),
        ...(problems.length === 0 ? [] : [`Does not fit its config:\n${problems.join('\n')}`]),
      ].join('\n\n'),
  };
}

export async function inspectSafetensors(path: string): Promise<Inspection> {
  const source = await openSafetensors(path);
  const stored = summarise(source);
  const entries = [...source.entries.values()].map(({ name, dtype, shape }) => ({ name, dtype, shape }));
  await source.close();
  return {
    value: { kind: 'safetensors', path, ...stored, entries },
    text: () =>
      [
        `Safetensors ${path}`,
        pairs(tensorPairs(stored)),
        table(
          ['tensor', 'type', 'shape'],
          entries.map(({ name, dtype, shape }) => [name, dtype, shape.join(' x ')]),
        ),
      ].join('\n\n'),
  };
}

function summarise(source: TensorSource): Tensors {
  const sums: Tensors = { tensors: source.entries.size, parameters: 0, bytes: 0, dtypes: {} };
  for (const { dtype, shape, begin, end } of source.entries.values()) {
    const count = elementCount(shape);
    sums.parameters += count;
    sums.bytes += end - begin;
    sums.dtypes[dtype] = (sums.dtypes[dtype] ?? 0) + count;
  }
  return sums;
}

function tensorPairs(stored: Tensors): [string, string | number][] {
  return [
    ['tensors', stored.tensors],
    ['parameters', stored.parameters.toLocaleString('en-US')],
    ['stored as', `${Object.keys(stored.dtypes).join(', ')}, ${bytes(stored.bytes)}`],
  ];
}

/** Where the tensors are not those the config calls for. */
function compare(config: ModelConfig, source: TensorSource): string[] {
  const expected = parameterShapes(config);
  const missing = [...expected.keys()].filter((name) => !source.entries.has(name));
  const others = [...source.entries.values()].flatMap(({ name, shape }) => {
    const wanted = expected.get(name);
    if (wanted === undefined) return [`${name}: not a parameter of this architecture`];
    const same = wanted.length === shape.length && wanted.every((size, i) => size === shape[i]);
    return same ? [] : [`${name}: ${shape.join(' x ')} where the config calls for ${wanted.join(' x ')}`];
  });
  return [...missing.map((name) => `${name}: missing`), ...others];
}
