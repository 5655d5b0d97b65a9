/**
 * The fields of a Hugging Face `config.json` that decide what the decoder computes; other fields pass through. A null
 * counts as a missing field.
 */
import { z } from 'zod';

const count = z.int().positive().nullish();
const flag = z.boolean().nullish();
const number = z.number().nullish();
/** A factor that other architectures apply. */
const one = z.literal(1).nullish();
const tokenId = z.int().min(-1).nullish();

export const ropeParameters = z.looseObject({
  rope_type: z.string().nullish(),
  /** The older name of `rope_type`. */
  type: z.string().nullish(),
  rope_theta: z.number().positive().nullish(),
  partial_rotary_factor: number,
  factor: z.number().positive().nullish(),
  low_freq_factor: z.number().positive().nullish(),
  high_freq_factor: z.number().positive().nullish(),
  original_max_position_embeddings: count,
  attention_factor: number,
  beta_fast: number,
  beta_slow: number,
  mscale: number,
  mscale_all_dim: number,
  truncate: flag,
  short_factor: z.array(z.number().positive()).nullish(),
});

export const ARCHITECTURES = ['llama', 'qwen2', 'qwen3'] as const;

export const configSchema = z.looseObject({
  model_type: z
    .enum(ARCHITECTURES, { error: 'Invalid input: expected one of the architectures llama, qwen2, qwen3' })
    .nullish(),
  architectures: z.array(z.string()).nullish(),
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count,
  head_dim: count,
  /** Two names for the same function. */
  hidden_act: z.enum(['silu', 'swish']).nullish(),
  rms_norm_eps: z.number().nonnegative().nullish(),
  max_position_embeddings: count,
  original_max_position_embeddings: count,
  rope_theta: z.number().positive().nullish(),
  rope_scaling: ropeParameters.nullish(),
  rope_parameters: ropeParameters.nullish(),
  partial_rotary_factor: number,
  rope_interleaved: flag,
  tie_word_embeddings: flag,
  attention_bias: flag,
  mlp_bias: flag,
  initializer_range: z.number().nonnegative().nullish(),
  use_sliding_window: flag,
  sliding_window: z.int().nullish(),
  max_window_layers: z.int().nullish(),
  layer_types: z.array(z.string()).nullish(),
  /** Attention is always causal, and scaled only by the square root of the head size. */
  is_causal: z.literal(true).nullish(),
  use_bidirectional_attention: z.literal(false).nullish(),
  attention_multiplier: one,
  embedding_multiplier: one,
  residual_multiplier: one,
  logits_scaling: one,
  num_experts: z.unknown().optional(),
  per_layer_config: z.unknown().optional(),
  quantization_config: z.unknown().optional(),
  /** A weights file with a name other than the usual ones. */
  transformers_weights: z.string().nullish(),
  bos_token_id: tokenId,
  eos_token_id: z.union([tokenId, z.array(z.int().min(-1))]),
  pad_token_id: tokenId,
});

export type RawConfig = z.output<typeof configSchema>;
