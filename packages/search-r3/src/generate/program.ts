/** The decoder over a key/value cache: one program for prompts (empty cache) and for single new tokens. */
import { cachedAttention, emit, Graph, gatherRows, type Program } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { decoder, type InferenceWeights, ropeInputs, rotatesInside, turned } from '../decoder/index.js';

export const pastName = (kind: 'keys' | 'values', layer: number) => `past_${kind}_${layer}`;
export const presentName = (kind: 'keys' | 'values', layer: number) => `present_${kind}_${layer}`;

/**
 * Feeds: `ids` [batch, length], `last_index` and `total` (see `cachedAttention`), `rows` int64 [batch]: flat positions of
 * each row's last real token, in the order in which the results are wanted, `scored` int64 [scored]: which of these rows
 * need scores, the caches, `positions` where the kernel can not rotate. Outputs: `hidden` [batch, hidden], `scores`
 * [scored, vocabulary], and the caches.
 */
export function generationProgram(config: ModelConfig, weightsIn: InferenceWeights['weightsIn']): Program {
  const graph = new Graph();
  const ids = graph.input('ids', 'int64', ['batch', 'length']);
  const rows = graph.input('rows', 'int64', ['batch']);
  const scored = graph.input('scored', 'int64', ['scored']);
  const lastIndex = graph.input('last_index', 'int32', ['batch']);
  const total = graph.input('total', 'int32', []);
  const positions = graph.input('positions', 'int64', ['batch', 'length']);
  const rope = ropeInputs(graph, config);
  const { heads, kvHeads, headDim } = config;
  const weights = weightsIn(graph);
  const cache = ['batch', kvHeads, 'capacity', headDim];

  const last = decoder({
    config,
    weights,
    ids,
    wanted: rows,
    attend: (layer, q, k, v) => {
      const past = (kind: 'keys' | 'values') => graph.input(pastName(kind, layer), 'float32', cache);
      const attended = cachedAttention(
        {
          ...turned(config, rope, positions, q, k),
          v,
          pastKeys: past('keys'),
          pastValues: past('values'),
          lastIndex,
          total,
          ...rope,
        },
        { heads, kvHeads, rotate: rotatesInside(config) },
      );
      graph.output(presentName('keys', layer), attended.keys);
      graph.output(presentName('values', layer), attended.values);
      return attended.result;
    },
  });
  graph.output('hidden', last);
  graph.output('scores', weights.logits(gatherRows(last, scored)));
  return emit(graph, { inPlace: true });
}
