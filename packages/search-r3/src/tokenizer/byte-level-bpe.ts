/**
 * Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909; on bytes: Radford et al. 2019) with the
 * normalizer and pre-tokenizer of Qwen2. It can encode any text.
 */
import { z } from 'zod';
import { inTurns, type LongWorkOptions } from '../run/turns.js';
import { validate } from '../run/validate.js';
import { learnMerges } from './bpe-merges.js';
import { QWEN2_PATTERN } from './class-pipelines.js';
import type { Tokenizer } from './tokenizer.js';
import { assemble, refuseSmall, trainingShape, WordCounter, wordSplitter } from './training.js';

const optionsSchema = z.strictObject({
  ...trainingShape,
  /** Lower-case all text. Default false. */
  lowercase: z.boolean().default(false),
});

export type ByteLevelBpeOptions = z.input<typeof optionsSchema>;

const composed = { type: 'NFC' };
const lowered = { type: 'Sequence', normalizers: [composed, { type: 'Lowercase' }] };
const split = { type: 'Split', pattern: { Regex: QWEN2_PATTERN }, behavior: 'Isolated', invert: false };
const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false };

/**
 * Learns merges from texts. Each round merges the most frequent pair. The pair with the lower ids wins a tie, as in the
 * reference implementation. The vocabulary consists of the 256 bytes, the merged tokens in the order in which they were
 * learned, and the special tokens.
 * @param texts the training texts. Progress reports use `length` as the total, if it is known.
 * @param work receives the progress of `words` (texts read) and `vocabulary` (tokens learned).
 * @throws InputError if options are invalid; InterruptedError if aborted.
 */
export async function trainByteLevelBpe(
  texts: Iterable<string> & { readonly length?: number },
  options: ByteLevelBpeOptions,
  work: LongWorkOptions = {},
): Promise<Tokenizer> {
  const source = 'trainByteLevelBpe options';
  const checked = validate(optionsSchema, options, source);
  const { vocabSize, specialTokens, lowercase } = checked;
  const normalizer = lowercase ? lowered : composed;
  refuseSmall(vocabSize, 256 + specialTokens.length, '256 bytes and the special tokens', source);

  // Texts repeat a limited number of words, so each word is converted to bytes once.
  const toBytes = wordSplitter({ normalizer: null, pre_tokenizer: byteLevel }, []);
  const counter = new WordCounter({ normalizer, pre_tokenizer: split }, specialTokens);
  const part = { name: 'words', total: texts.length ?? 0 };
  await inTurns(texts, part, (text) => counter.add(text), work);
  const words = [...counter.counts()].map(([word, count]) => [toBytes(word).join(''), count] as const);
  const { tokens, merges } = await learnMerges(words, byteAlphabet(), vocabSize - specialTokens.length, work);

  const model = {
    type: 'BPE',
    dropout: null,
    unk_token: null,
    continuing_subword_prefix: null,
    end_of_word_suffix: null,
    fuse_unk: false,
    byte_fallback: false,
    ignore_merges: false,
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    // No token contains a space, so the older and more widely supported format works.
    merges: merges.map((pair) => pair.join(' ')),
  };
  const pipeline = {
    normalizer,
    pre_tokenizer: { type: 'Sequence', pretokenizers: [split, byteLevel] },
    post_processor: byteLevel,
    decoder: byteLevel,
  };
  return assemble(model, pipeline, checked, source);
}

/**
 * The characters that represent the 256 bytes, in code point order (GPT-2's `bytes_to_unicode`). Printable Latin-1
 * characters represent themselves. The other bytes use the characters from U+0100 on.
 */
function byteAlphabet(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const same = bytes.filter(printable);
  const moved = bytes.filter((byte) => !printable(byte)).map((_, i) => 0x100 + i);
  return [...same, ...moved].map((point) => String.fromCodePoint(point));
}
