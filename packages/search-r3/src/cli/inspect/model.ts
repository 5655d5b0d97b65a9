/** What a model holds, and whether it loads: `inspect` rejects what loading rejects. */
import type { ModelFolder } from '../../checkpoint/model-folder.js';
import { elementCount } from '../../checkpoint/parameters.js';
import { poolingOf } from '../../checkpoint/prompts.js';
import { openSafetensors, type TensorSource } from '../../checkpoint/safetensors.js';
import type { Inspection } from './inspection.js';
import { bytes, pairs, table } from './text.js';

interface Tensors {
  tensors: number;
  parameters: number;
  bytes: number;
  /** Stored type -> number of parameters. */
  dtypes: Record<string, number>;
}

/** Reads the whole folder or GGUF file, one tensor at a time. @throws InputError where loading the model would. */
export async function inspectModel(path: string): Promise<Inspection> {
  const { openModel } = await import('../../checkpoint/model-folder.js');
  const model = await openModel(path);
  try {
    await model.checkWeights();
    return describe(path, model);
  } finally {
    await model.close();
  }
}

function describe(path: string, { config, retriever, stored: source, notes }: ModelFolder): Inspection {
  const stored = summarise(source);
  const { raw: _, ...shape } = config;
  const { limits = null, split = null, preset = null, matryoshka = null, prompts } = retriever ?? {};
  const pooling = prompts === undefined ? null : poolingOf(prompts);
  return {
    value: {
      kind: 'model',
      path,
      config: shape,
      preset,
      pooling,
      limits,
      split,
      matryoshka,
      ...stored,
      notes,
    },
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
          ['embedding read at', pooling ?? 'not recorded'],
          ['longest prompt trained with', limits?.maxLength ?? 'not recorded'],
          ['longest reasoning trained with', limits?.maxNewTokens ?? 'not recorded'],
          ['shorter vectors trained with', matryoshka?.join(', ') ?? 'not recorded'],
          ...tensorPairs(stored),
        ]),
        ...(notes.length === 0 ? [] : [`Notes\n${notes.join('\n')}`]),
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
