/** Tiny checkpoints of each architecture. */
import { type Checkpoint, initialiseWeights, parseConfig } from 'search-r3/checkpoint';
import { trainWordLevel } from 'search-r3/tokenizer';
import { QWEN3_06B, QWEN25_05B, TINYLLAMA } from './configs.js';

export const WORDS = 'the food of the city by the sea , its festivals and its trade';
/** What makes any of the configurations small; six heads over two of keys and values. */
export const TINY = {
  hidden_size: 12,
  intermediate_size: 20,
  num_hidden_layers: 2,
  max_position_embeddings: 64,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: undefined,
  vocab_size: 18,
  bos_token_id: null,
  eos_token_id: 5,
  pad_token_id: null,
};

/** Published configurations, shrunk. Their tokenizer has 18 ids. */
export const shrunk = {
  qwen2: { ...QWEN25_05B, ...TINY },
  qwen3: { ...QWEN3_06B, ...TINY, head_dim: 4 },
  llama: { ...TINYLLAMA, ...TINY, attention_bias: true, mlp_bias: true },
};

export function makeCheckpoint(json: object, over: Partial<Checkpoint> = {}): Checkpoint {
  const config = parseConfig(JSON.parse(JSON.stringify(json)));
  const tokenizer = trainWordLevel([WORDS], { vocabSize: 40 });
  const weights = initialiseWeights(config, 3);
  return { config, weights, tokenizer, ...over };
}
