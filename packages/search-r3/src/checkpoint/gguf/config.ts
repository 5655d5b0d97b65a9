/**
 * The configuration of a GGUF file, as the `config.json` that the model would have. Keys and defaults are those of
 * llama.cpp (`llama-model.cpp`, `gguf-py/gguf/constants.py`).
 */

import { type ReadConfig, readConfig } from '../config.js';
import { ARCHITECTURES } from '../config-schema.js';
import type { GgufTensor } from './header.js';
import type { Metadata } from './metadata.js';
import { ropeParameters } from './rope.js';
import type { RoleIds } from './vocabulary.js';

/** Keys of computations that the decoder does not have, with the value that means none. */
const NEUTRAL: readonly (readonly [key: string, value: number | boolean])[] = [
  ['expert_count', 0],
  ['attention.causal', true],
  ['attention.scale', 0],
  ['attention.clamp_kqv', 0],
  ['attention.max_alibi_bias', 0],
  ['embedding_scale', 1],
  ['residual_scale', 1],
  ['logit_scale', 1],
  ['use_parallel_residual', false],
];

export interface GgufShape {
  metadata: Metadata;
  tensors: ReadonlyMap<string, GgufTensor>;
  /** Values of `rope_freqs.weight`, which divide the rotary frequencies; undefined where there is none. */
  frequencyFactors: Float32Array | undefined;
  /** Tokens of the vocabulary. */
  tokens: number;
  ids: RoleIds;
}

/** @throws InputError naming the key that is missing, invalid or not supported. */
export function configOf({ metadata, tensors, frequencyFactors, tokens, ids }: GgufShape): ReadConfig {
  const architecture = architectureOf(metadata);
  const key = (name: string) => `${architecture}.${name}`;
  refuseOtherModels(metadata, key);
  const size = (name: string) => metadata.required(key(name), metadata.size(key(name)));
  const hiddenSize = size('embedding_length');
  const heads = size('attention.head_count');
  const headDim = metadata.size(key('attention.key_length')) ?? hiddenSize / heads;
  for (const name of ['attention.value_length', 'rope.dimension_count']) {
    const other = metadata.size(key(name)) ?? headDim;
    if (other !== headDim) throw metadata.error(key(name), `the head size, ${headDim}`, String(other));
  }
  const contextLength = size('context_length');
  const eps = key('attention.layer_norm_rms_epsilon');
  const hasBias = (part: string) => tensors.has(`blk.0.${part}.bias`);
  const names = { llama: 'Llama', qwen2: 'Qwen2', qwen3: 'Qwen3' };
  return readConfig(
    {
      architectures: [`${names[architecture]}ForCausalLM`],
      model_type: architecture,
      vocab_size: tensors.get('token_embd.weight')?.shape[0] ?? tokens,
      hidden_size: hiddenSize,
      intermediate_size: size('feed_forward_length'),
      num_hidden_layers: size('block_count'),
      num_attention_heads: heads,
      num_key_value_heads: metadata.size(key('attention.head_count_kv')) ?? heads,
      head_dim: headDim,
      hidden_act: 'silu',
      max_position_embeddings: contextLength,
      rms_norm_eps: metadata.required(eps, metadata.number(eps)),
      ...ropeParameters({ metadata, key, headDim, contextLength, frequencyFactors }),
      tie_word_embeddings: !tensors.has('output.weight'),
      // Qwen2 always has the former and never the latter.
      ...(architecture !== 'qwen2' && { attention_bias: hasBias('attn_q') }),
      ...(architecture === 'llama' && { mlp_bias: hasBias('ffn_down') }),
      bos_token_id: ids.bos_token ?? null,
      eos_token_id: ids.eos_token ?? null,
      pad_token_id: ids.pad_token ?? null,
    },
    metadata.source,
  );
}

export function architectureOf(metadata: Metadata): (typeof ARCHITECTURES)[number] {
  const name = metadata.required('general.architecture', metadata.string('general.architecture'));
  const architecture = ARCHITECTURES.find((one) => one === name);
  if (architecture !== undefined) return architecture;
  const expected = `one of the architectures ${ARCHITECTURES.join(', ')}`;
  throw metadata.error('general.architecture', expected, name);
}

function refuseOtherModels(metadata: Metadata, key: (name: string) => string): void {
  const parts = metadata.number('split.count') ?? 1;
  if (parts > 1) {
    const remedy = 'Merge the parts first: llama-gguf-split --merge FIRST_PART WHOLE.gguf.';
    throw metadata.error('split.count', 'a model in one file', `one of ${parts} parts`, remedy);
  }
  for (const [name, neutral] of NEUTRAL) {
    const read = typeof neutral === 'number' ? metadata.number(key(name)) : metadata.boolean(key(name));
    if (read === undefined || read === neutral) continue;
    throw metadata.error(key(name), `${neutral}, or nothing`, String(read));
  }
}
