/**
 * search-r3 as the `real` benchmark uses it, at a precision: the only file of the benchmark that knows how a model is
 * opened at one, and which there are.
 */
import { emit, floats, Graph, gatherElements, i64, logSoftmax, reshape, Session } from 'onnx-grad';
import { loadCheckpoint, type ModelConfig } from 'search-r3/checkpoint';
import {
  attendPrompts,
  decoder,
  type InferenceWeights,
  memoryWeights,
  padRight,
  positionsOf,
  ropeInputs,
  ropeTables,
} from 'search-r3/decoder';
import { SequenceEncoder } from 'search-r3/embed';
import { Generator } from 'search-r3/generate';
import type { Tokenizer } from 'search-r3/tokenizer';

export const PRECISIONS = ['f32', 'int8', 'int8-block', 'int4'] as const;
export type Precision = (typeof PRECISIONS)[number];

/** Why there is nothing to measure at a precision; undefined where there is. */
export const unavailable = (precision: Precision): string | undefined =>
  precision === 'f32' ? undefined : 'not in this version';

/** Flags of commands that choose a precision. */
export const precisionFlags = (_precision: Precision): string[] => [];

/** A model whose parts are built when they are first asked for. */
export interface Ours {
  config: ModelConfig;
  tokenizer: Tokenizer;
  /** The last hidden state of each sequence, rows of unit length. */
  encode(sequences: readonly (readonly number[])[]): Promise<Float32Array>;
  /** Greedy completions of exactly `count` tokens. */
  generate(prompts: readonly (readonly number[])[], count: number): Promise<number[][]>;
  /** log p of each token of a sequence but the first. */
  logProbabilities(sequence: readonly number[]): Promise<Float32Array>;
}

/** @param path a folder or a GGUF file. */
export async function openOurs(path: string, precision: Precision, threads: number): Promise<Ours> {
  const missing = unavailable(precision);
  if (missing !== undefined) throw new Error(`${precision}: ${missing}`);
  const checkpoint = await loadCheckpoint(path);
  const { config, tokenizer } = checkpoint;
  const weights = memoryWeights(checkpoint);
  let encoder: Promise<SequenceEncoder> | undefined;
  let generator: Promise<Generator> | undefined;
  let scorer: Promise<Session> | undefined;
  return {
    config,
    tokenizer,
    async encode(sequences) {
      encoder ??= SequenceEncoder.create(config, weights, { threads });
      return (await encoder).encode(sequences);
    },
    async generate(prompts, count) {
      generator ??= Generator.create(config, weights, { threads });
      const options = { maxNewTokens: count, stop: [], temperature: 0, slots: prompts.length };
      const completions = await (await generator).generate(prompts, options);
      return completions.map(([{ tokens }]) => tokens);
    },
    async logProbabilities(sequence) {
      scorer ??= scoringSession(config, weights, threads);
      const [ids, targets] = [sequence.slice(0, -1), sequence.slice(1)];
      const { log_probabilities } = await (await scorer).run({
        ids: padRight([ids], 0).ids,
        last_index: { dtype: 'int32', shape: [1], data: Int32Array.of(ids.length - 1) },
        total: { dtype: 'int32', shape: [], data: Int32Array.of(ids.length) },
        targets: i64(targets, [targets.length, 1]),
        ...ropeTables(config, ids.length),
      });
      return floats(log_probabilities);
    },
  };
}

/** One sequence: `ids` [1, length], `targets` [length, 1] -> `log_probabilities` [length]. */
async function scoringSession(
  config: ModelConfig,
  { weightsIn, feeds }: InferenceWeights,
  threads: number,
): Promise<Session> {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', [1, 'length']);
  const attend = attendPrompts(config, {
    rope: ropeInputs(graph, config),
    positions: positionsOf(ids),
    lastIndex: graph.input('last_index', 'int32', [1]),
    total: graph.input('total', 'int32', []),
  });
  const weights = weightsIn(graph);
  const scores = logSoftmax(weights.logits(decoder({ config, weights, ids, attend })));
  const own = gatherElements(scores, graph.input('targets', 'int64', ['length', 1]));
  graph.output('log_probabilities', reshape(own, ['length']));
  const session = await Session.create(emit(graph), { threads });
  session.bind(feeds);
  return session;
}
