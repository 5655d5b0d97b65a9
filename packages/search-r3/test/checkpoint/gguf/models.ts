/** Small models as GGUF files: the weights of a checkpoint in the layout of llama.cpp. */
import type { Checkpoint, WeightTensor } from 'search-r3/checkpoint';
import { randomStream } from 'search-r3/run';
import { makeCheckpoint, shrunk } from '../tiny.js';
import { bpeMetadata, trainedTokenizer } from './vocabularies.js';
import { f32, f32Tensor, type TensorToWrite, text, u32, type Value } from './writer.js';

const NAMES: readonly (readonly [huggingFace: RegExp, gguf: string])[] = [
  [/^model\.embed_tokens\./, 'token_embd.'],
  [/^model\.norm\./, 'output_norm.'],
  [/^lm_head\./, 'output.'],
  [/^model\.layers\.(\d+)\./, 'blk.$1.'],
  [/\.input_layernorm\./, '.attn_norm.'],
  [/\.post_attention_layernorm\./, '.ffn_norm.'],
  [/\.self_attn\.([qkv])_proj\./, '.attn_$1.'],
  [/\.self_attn\.o_proj\./, '.attn_output.'],
  [/\.self_attn\.([qk])_norm\./, '.attn_$1_norm.'],
  [/\.mlp\.(gate|up|down)_proj\./, '.ffn_$1.'],
];

export const ggufName = (name: string): string =>
  NAMES.reduce((current, [pattern, replacement]) => current.replace(pattern, replacement), name);

/**
 * The rows of each head interleaved, as `permute` of `convert_hf_to_gguf.py` does for Llama: first half and second half
 * take turns.
 */
export function interleaved({ data, shape }: WeightTensor, heads: number): WeightTensor {
  const rows = shape[0]!;
  const width = data.length / rows;
  const headDim = rows / heads;
  const out = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / headDim);
    const inHead = row % headDim;
    const from = head * headDim + (inHead % 2) * (headDim / 2) + Math.floor(inHead / 2);
    out.set(data.subarray(from * width, (from + 1) * width), row * width);
  }
  return { data: out, shape };
}

export function modelMetadata({ config }: Checkpoint): Record<string, Value> {
  const { architecture } = config;
  return {
    'general.architecture': text(architecture),
    'general.name': text('a model of the tests'),
    [`${architecture}.block_count`]: u32(config.layers),
    [`${architecture}.context_length`]: u32(config.maxPositions),
    [`${architecture}.embedding_length`]: u32(config.hiddenSize),
    [`${architecture}.feed_forward_length`]: u32(config.intermediateSize),
    [`${architecture}.attention.head_count`]: u32(config.heads),
    [`${architecture}.attention.head_count_kv`]: u32(config.kvHeads),
    [`${architecture}.attention.key_length`]: u32(config.headDim),
    [`${architecture}.attention.value_length`]: u32(config.headDim),
    [`${architecture}.attention.layer_norm_rms_epsilon`]: f32(config.rmsNormEps),
    [`${architecture}.rope.freq_base`]: f32(config.ropeTheta),
  };
}

export function modelTensors({ config, weights }: Checkpoint): TensorToWrite[] {
  return [...weights].map(([name, weight]) => {
    const kind = /\.self_attn\.([qk])_proj\./.exec(name)?.[1];
    const heads = kind === 'q' ? config.heads : config.kvHeads;
    const stored =
      config.architecture === 'llama' && kind !== undefined ? interleaved(weight, heads) : weight;
    return f32Tensor(ggufName(name), stored);
  });
}

/** All that a file of the checkpoint holds. */
export async function modelFile(checkpoint: Checkpoint, pre = 'qwen2') {
  const tokenizer = await bpeMetadata(checkpoint.tokenizer, pre);
  return {
    metadata: { ...modelMetadata(checkpoint), ...tokenizer },
    tensors: modelTensors(checkpoint),
  };
}

/** The configurations are those of published models, made small: 6 heads of 4 over 2 of keys and values. */
const SIZES = {
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  head_dim: 4,
  max_position_embeddings: 64,
  bos_token_id: null,
};

const CONFIGS = { llama: shrunk.llama, qwen2: shrunk.qwen2, qwen3: shrunk.qwen3 };

export type Kind = keyof typeof CONFIGS;

const tokenizer = trainedTokenizer();

/** A model with random weights, biases and norms included, and a byte-level tokenizer. */
export async function tinyCheckpoint(kind: Kind, over: object = {}): Promise<Checkpoint> {
  const trained = await tokenizer;
  const { eosId, padId, vocabSize } = trained;
  const ids = { eos_token_id: eosId, pad_token_id: padId, vocab_size: vocabSize };
  const checkpoint = makeCheckpoint({ ...CONFIGS[kind], ...SIZES, ...ids, ...over }, { tokenizer: trained });
  const random = randomStream(5, kind);
  // Initial biases are all 0, and norms all 1.
  for (const { data } of checkpoint.weights.values())
    for (let i = 0; i < data.length; i++) data[i]! += random.normal() / 8;
  return checkpoint;
}

export const tinyModel = async (kind: Kind) => modelFile(await tinyCheckpoint(kind));
