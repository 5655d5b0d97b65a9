/** search-r3 as the `real` benchmark uses it, at a precision. */
import { emit, floats, Graph, gatherElements, i64, logSoftmax, reshape, Session } from 'onnx-grad';
import { attendPrompts, decoder, type Precision, ropeInputs, ropeTables } from 'search-r3/decoder';
import { CACHE_VARIABLE, Model } from 'search-r3/model';
import { QUANTISED } from './paths.js';

/** Our processes keep quantised weights here, and nowhere else. */
export const ENVIRONMENT = { [CACHE_VARIABLE]: QUANTISED };

/** A model whose parts are built when they are first asked for. */
export interface Ours {
  tokenizer: Model['tokenizer'];
  /** The last hidden state of each sequence, rows of unit length. */
  encode(sequences: readonly (readonly number[])[]): Promise<Float32Array>;
  /** Greedy completions of exactly `count` tokens. */
  generate(prompts: readonly (readonly number[])[], count: number): Promise<number[][]>;
  /** log p of each token of a sequence but the first. */
  logProbabilities(sequence: readonly number[]): Promise<Float32Array>;
}

/** @param path a folder or a GGUF file. */
export async function openOurs(path: string, precision: Precision, threads: number): Promise<Ours> {
  const model = await Model.load(path, { precision, threads });
  let scorer: Promise<Session> | undefined;
  return {
    tokenizer: model.tokenizer,
    async encode(sequences) {
      return (await model.encoder()).encode(sequences);
    },
    async generate(prompts, count) {
      const generator = await model.generator();
      const options = { maxNewTokens: count, stop: [], temperature: 0, slots: prompts.length };
      return (await generator.generate(prompts, options)).map(([{ tokens }]) => tokens);
    },
    async logProbabilities(sequence) {
      scorer ??= scoringSession(model, threads);
      const [ids, targets] = [sequence.slice(0, -1), sequence.slice(1)];
      const { log_probabilities } = await (await scorer).run({
        ids: i64(ids, [1, ids.length]),
        last_index: { dtype: 'int32', shape: [1], data: Int32Array.of(ids.length - 1) },
        total: { dtype: 'int32', shape: [], data: Int32Array.of(ids.length) },
        targets: i64(targets, [targets.length, 1]),
        ...ropeTables(model.config, ids.length),
      });
      return floats(log_probabilities);
    },
  };
}

/** One sequence: `ids` [1, length], `targets` [length, 1] -> `log_probabilities` [length]. */
async function scoringSession({ config, inferenceWeights }: Model, threads: number): Promise<Session> {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const attend = attendPrompts(config, ids, ropeInputs(graph, config));
  const weights = inferenceWeights.weightsIn(graph);
  const scores = logSoftmax(weights.logits(decoder({ config, weights, ids, attend })));
  const own = gatherElements(scores, graph.input('targets', 'int64', ['batch*length', 1]));
  graph.output('log_probabilities', reshape(own, ['batch*length']));
  const session = await Session.create(emit(graph), { threads });
  session.bind(inferenceWeights.feeds);
  return session;
}
