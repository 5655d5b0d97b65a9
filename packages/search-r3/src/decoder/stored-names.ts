/** The names of tensors in a quantised file: Hugging Face's, and `qkv_proj` for q, k and v as one. */
import type { ModelConfig } from '../checkpoint/index.js';
import { rotatesInside } from './prompt-attention.js';

export const HEAD = 'lm_head';

/** The linear layers of a decoder layer, without `.weight`. */
export function linearNames(layer: number) {
  const attention = `model.layers.${layer}.self_attn`;
  const mlp = `model.layers.${layer}.mlp`;
  return {
    q: `${attention}.q_proj`,
    k: `${attention}.k_proj`,
    v: `${attention}.v_proj`,
    qkv: `${attention}.qkv_proj`,
    output: `${attention}.o_proj`,
    gate: `${mlp}.gate_proj`,
    up: `${mlp}.up_proj`,
    down: `${mlp}.down_proj`,
  };
}

/** The scales of a quantised linear layer. */
export const scalesName = (linear: string): string => `${linear}.scales`;

/** What smoothing divided by: the inputs of q, k and v, those of gate and up, and those of down (the outputs of up). */
export function factorsNames(layer: number) {
  const { down } = linearNames(layer);
  return {
    attention: `model.layers.${layer}.input_layernorm.smoothing`,
    gates: `model.layers.${layer}.post_attention_layernorm.smoothing`,
    down: `${down}.smoothing`,
  };
}

/** Whether q, k and v are stored as one matrix: the fused kernel takes them side by side, unless heads have norms. */
export const packsAttention = (config: ModelConfig): boolean => rotatesInside(config) && !config.qkNorm;
