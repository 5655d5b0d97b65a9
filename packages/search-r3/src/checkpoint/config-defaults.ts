/** Values of fields missing from `config.json`: the defaults of the configuration classes of transformers 5.24. */
import type { ARCHITECTURES, RawConfig } from './config-schema.js';

export type Architecture = (typeof ARCHITECTURES)[number];

/** The fields whose values a reader of the folder cannot find elsewhere. */
interface Defaults {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  max_position_embeddings: number;
  rms_norm_eps: number;
}

const QWEN: Defaults = {
  vocab_size: 151_936,
  hidden_size: 4096,
  intermediate_size: 22_016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  max_position_embeddings: 32_768,
  rms_norm_eps: 1e-6,
};

const DEFAULTS: Record<Architecture, Defaults> = {
  llama: {
    ...QWEN,
    vocab_size: 32_000,
    intermediate_size: 11_008,
    max_position_embeddings: 2048,
  },
  qwen2: QWEN,
  qwen3: QWEN,
};

/** The same for every class. */
export const DEFAULT_ROPE_THETA = 10_000;
export const DEFAULT_INITIALIZER_RANGE = 0.02;
/** Default number of key and value heads of Qwen2 and Qwen3; null, and Llama's default, mean one for each head. */
export const QWEN_KV_HEADS = 32;
/** Qwen3's head size, whatever its hidden size; the other classes divide the hidden size by the number of heads. */
export const QWEN3_HEAD_DIM = 128;
export const DEFAULT_WINDOW = 4096;
export const DEFAULT_WINDOW_LAYERS = 28;
/** Llama's ids of the tokens that begin and end a text; the other classes have no defaults. */
export const LLAMA_IDS = { bos_token_id: 1, eos_token_id: 2 } as const;

/** The fields with defaults filled in, and those that were missing, as `name value`. */
export function withDefaults(raw: RawConfig, architecture: Architecture): Defaults & { leftOut: string[] } {
  const defaults = DEFAULTS[architecture];
  const result = { ...defaults, leftOut: [] as string[] };
  for (const name of Object.keys(defaults) as (keyof Defaults)[]) {
    const value = raw[name];
    if (value == null) result.leftOut.push(`${name} ${defaults[name]}`);
    else result[name] = value;
  }
  return result;
}
