/**
 * The names of tensors: those of llama.cpp (`gguf-py/gguf/constants.py`) and those of Hugging Face, and how their rows
 * are ordered.
 */

const WHOLE: ReadonlyMap<string, string> = new Map([
  ['token_embd', 'model.embed_tokens'],
  ['output_norm', 'model.norm'],
  ['output', 'lm_head'],
]);

const IN_LAYER: ReadonlyMap<string, string> = new Map([
  ['attn_norm', 'input_layernorm'],
  ['attn_q', 'self_attn.q_proj'],
  ['attn_k', 'self_attn.k_proj'],
  ['attn_v', 'self_attn.v_proj'],
  ['attn_output', 'self_attn.o_proj'],
  ['attn_q_norm', 'self_attn.q_norm'],
  ['attn_k_norm', 'self_attn.k_norm'],
  ['ffn_norm', 'post_attention_layernorm'],
  ['ffn_gate', 'mlp.gate_proj'],
  ['ffn_up', 'mlp.up_proj'],
  ['ffn_down', 'mlp.down_proj'],
]);

/** The name of Hugging Face; a name that is not known stays as it is. */
export function parameterName(name: string): string {
  const [, layer, part = '', kind] = /^(?:blk\.(\d+)\.)?(\w+)\.(weight|bias)$/.exec(name) ?? [];
  const known = layer === undefined ? WHOLE.get(part) : IN_LAYER.get(part);
  if (known === undefined) return name;
  return layer === undefined ? `${known}.${kind}` : `model.layers.${layer}.${known}.${kind}`;
}

/** Which projections the converter of llama.cpp reorders for the architecture `llama`. */
const REORDERED = /\.attn_([qk])\.(?:weight|bias)$/;

/**
 * The number of heads whose rows are interleaved in the file, or undefined if the rows are in order. The rotary
 * embedding of Hugging Face pairs row i of a head with row i + half; for the architecture `llama`, llama.cpp pairs
 * neighbours, and its converter reorders the rows of q and k.
 */
export function interleavedHeads(
  name: string,
  { architecture, heads, kvHeads }: { architecture: string; heads: number; kvHeads: number },
): number | undefined {
  const kind = architecture === 'llama' ? REORDERED.exec(name)?.[1] : undefined;
  if (kind === undefined) return undefined;
  return kind === 'q' ? heads : kvHeads;
}

/** The row of the file that holds `row` of the parameter, for heads of `headRows` interleaved rows. */
export function rowInFile(row: number, headRows: number): number {
  const inHead = row % headRows;
  const half = headRows / 2;
  return row - inHead + (inHead < half ? 2 * inHead : 2 * (inHead - half) + 1);
}
