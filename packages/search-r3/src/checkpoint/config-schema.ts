/** The fields of a Hugging Face `config.json` that decide what the decoder computes; others pass through untouched. */
import { z } from 'zod';

const count = z.int().positive();
/** A factor that other architectures apply. */
const one = z.literal(1).nullish();
const tokenId = z.int().min(-1).nullish();

export const ropeParameters = z.looseObject({
  rope_type: z.string().nullish(),
  /** The older name of `rope_type`. */
  type: z.string().nullish(),
  rope_theta: z.number().positive().nullish(),
  partial_rotary_factor: z.number().nullish(),
  factor: z.number().positive().nullish(),
  low_freq_factor: z.number().positive().nullish(),
  high_freq_factor: z.number().positive().nullish(),
  original_max_position_embeddings: count.nullish(),
});

export const configSchema = z.looseObject({
  model_type: z.enum(['llama', 'qwen2', 'qwen3'], {
    error: 'Invalid input: expected one of the architectures llama, qwen2, qwen3',
  }),
  architectures: z.array(z.string()).nullish(),
  vocab_size: count,
  hidden_size: count,
  intermediate_size: count,
  num_hidden_layers: count,
  num_attention_heads: count,
  num_key_value_heads: count.nullish(),
  head_dim: count.nullish(),
  hidden_act: z.literal('silu').default('silu'),
  rms_norm_eps: z.number().positive().default(1e-6),
  max_position_embeddings: count,
  rope_theta: z.number().positive().nullish(),
  rope_scaling: ropeParameters.nullish(),
  rope_parameters: ropeParameters.nullish(),
  partial_rotary_factor: z.number().nullish(),
  rope_interleaved: z.boolean().nullish(),
  tie_word_embeddings: z.boolean().default(false),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  initializer_range: z.number().positive().default(0.02),
  use_sliding_window: z.boolean().nullish(),
  sliding_window: z.int().nullish(),
  max_window_layers: z.int().nullish(),
  layer_types: z.array(z.string()).nullish(),
  /** Attention here is causal, and scaled by the square root of the head size alone. */
  is_causal: z.literal(true).nullish(),
  use_bidirectional_attention: z.literal(false).nullish(),
  attention_multiplier: one,
  embedding_multiplier: one,
  residual_multiplier: one,
  logits_scaling: one,
  num_experts: z.unknown().optional(),
  quantization_config: z.unknown().optional(),
  bos_token_id: tokenId,
  eos_token_id: z.union([tokenId, z.array(z.int().nonnegative())]),
  pad_token_id: tokenId,
});

export type RawConfig = z.output<typeof configSchema>;
