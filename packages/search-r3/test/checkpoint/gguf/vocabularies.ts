/** Tokenizers as the metadata of a GGUF file. */
import { mkdtemp, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Tokenizer, trainByteLevelBpe } from 'search-r3/tokenizer';
import { array, flag, text, u32, type Value } from './writer.js';

/** Texts whose words have the parts that pre-tokenizers treat differently. */
export const TEXTS = [
  "The quick brown fox, 1234567 times; it's over 3.14 (or 2/3) and DON'T stop!",
  "we'll  see   what\tspaces\n\n\ndo  \n here \r\n",
  'f(x_1) = a^2 + b~|c| <= $5 & more...',
  'Füße, naïve café, 東京都 2024年, Ελλάδα, شكرا',
  '  leading and trailing  ',
  '½ of ²³ and Ⅷ; 👩‍🚀 rockets',
  'CamelCase snake_case kebab-case "quoted"',
];

/** A byte-level vocabulary that has learned these texts. */
export async function trainedTokenizer(vocabSize = 420): Promise<Tokenizer> {
  return trainByteLevelBpe([...TEXTS, ...TEXTS, ...TEXTS], { vocabSize });
}

interface TokenizerJson {
  added_tokens: { id: number; content: string; special: boolean }[];
  model: { vocab: Record<string, number>; merges: (string | [string, string])[] };
}

/** The metadata of a byte-level tokenizer, as `convert_hf_to_gguf.py` of llama.cpp writes it. */
export async function bpeMetadata(tokenizer: Tokenizer, pre: string): Promise<Record<string, Value>> {
  const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
  await tokenizer.save(folder);
  const json = JSON.parse(await readFile(join(folder, 'tokenizer.json'), 'utf8')) as TokenizerJson;
  const config = JSON.parse(await readFile(join(folder, 'tokenizer_config.json'), 'utf8')) as {
    chat_template: string;
  };
  const tokens: string[] = [];
  const types: number[] = [];
  for (const [token, id] of Object.entries(json.model.vocab)) {
    tokens[id] = token;
    types[id] = 1;
  }
  for (const { id, content, special } of json.added_tokens) {
    tokens[id] = content;
    types[id] = special ? 3 : 4;
  }
  const merges = json.model.merges.map((merge) => (Array.isArray(merge) ? merge.join(' ') : merge));
  return {
    'tokenizer.ggml.model': text('gpt2'),
    'tokenizer.ggml.pre': text(pre),
    'tokenizer.ggml.tokens': array('string', tokens),
    'tokenizer.ggml.token_type': array('i32', types),
    'tokenizer.ggml.merges': array('string', merges),
    'tokenizer.ggml.eos_token_id': u32(tokenizer.eosId!),
    'tokenizer.ggml.padding_token_id': u32(tokenizer.padId!),
    'tokenizer.ggml.add_bos_token': flag(false),
    'tokenizer.chat_template': text(config.chat_template),
  };
}

/** GPT-2's characters for the 256 bytes: printable ones stand for themselves, the others follow from U+0100 on. */
const BYTES: readonly string[] = (() => {
  let next = 0x100;
  const isPrintable = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  return Array.from({ length: 256 }, (_, byte) => String.fromCodePoint(isPrintable(byte) ? byte : next++));
})();

/**
 * A byte-level vocabulary whose merges cross every border between words of `TEXTS`, so that ids show where a
 * pre-tokenizer splits: the most frequent pair is merged until each text is one token.
 */
export function crossingMetadata(pre: string): Record<string, Value> {
  const sequences = TEXTS.map((one) => Array.from(Buffer.from(one.normalize('NFC')), (byte) => BYTES[byte]!));
  const merges = new Map<string, string>();
  for (;;) {
    const counts = new Map<string, number>();
    for (const symbols of sequences) {
      for (let i = 1; i < symbols.length; i++) {
        const pair = `${symbols[i - 1]} ${symbols[i]}`;
        counts.set(pair, (counts.get(pair) ?? 0) + 1);
      }
    }
    // Of equally frequent pairs the shortest, so that merges are spread over the texts.
    const [best] = [...counts].sort(([p, a], [q, b]) => b - a || p.length - q.length);
    if (best === undefined) break;
    const [left, right] = best[0].split(' ') as [string, string];
    merges.set(best[0], left + right);
    for (const symbols of sequences) {
      for (let i = 1; i < symbols.length; i++) {
        if (symbols[i - 1] === left && symbols[i] === right) symbols.splice(i - 1, 2, left + right);
      }
    }
  }
  const tokens = [...new Set([...BYTES, ...merges.values()])];
  return {
    'tokenizer.ggml.model': text('gpt2'),
    'tokenizer.ggml.pre': text(pre),
    'tokenizer.ggml.tokens': array('string', [...tokens, '<|end|>']),
    'tokenizer.ggml.token_type': array('i32', [...tokens.map(() => 1), 3]),
    'tokenizer.ggml.merges': array('string', [...merges.keys()]),
    'tokenizer.ggml.eos_token_id': u32(tokens.length),
  };
}
