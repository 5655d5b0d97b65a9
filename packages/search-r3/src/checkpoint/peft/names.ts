/** The names of an adapter's tensors in PEFT's file (0.21) and here. */
import { embedRow } from '../lora.js';
import { EMBEDDING_NAME, HEAD_NAME } from '../parameters.js';

const PREFIX = 'base_model.model.';
/** A token's rows of a table, where PEFT keeps them in a module of its own. */
const ROWS = '.token_adapter.trainable_tokens_delta';

const tableModule = (table: string): string => table.replace(/\.weight$/, '');

/** The name in PEFT's file of a tensor of `Adapter.weights`. */
export function peftName(name: string): string {
  for (const table of [EMBEDDING_NAME, HEAD_NAME]) {
    if (name === embedRow(table)) return `${PREFIX}${tableModule(table)}${ROWS}`;
  }
  return PREFIX + name;
}

/** The reverse; undefined for a tensor that no adapter here has. */
export function adapterName(name: string): string | undefined {
  const inner = name.startsWith(PREFIX) ? name.slice(PREFIX.length) : name;
  if (/^model\.layers\.\d+\.(self_attn|mlp)\.[a-z]+_proj\.lora_[AB]\.weight$/.test(inner)) return inner;
  return [EMBEDDING_NAME, HEAD_NAME]
    .filter((table) => inner === `${tableModule(table)}${ROWS}`)
    .map(embedRow)[0];
}
