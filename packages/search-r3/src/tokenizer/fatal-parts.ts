/**
 * Rejects the parts of a `tokenizer.json` that would make the library abort the process. The list comes from the panics
 * in the source code of tokenizers 0.23. It does not cover regular expressions that backtrack forever.
 */
import { InputError } from '../run/errors.js';

type Json = Readonly<Record<string, unknown>>;

/** @throws InputError that names the part. */
export function refuseFatalParts(tokenizer: Json, source: string): void {
  const refuse: Refuse = (field, expected, found) => {
    throw new InputError({ source, field, expected, found: JSON.stringify(found) ?? 'nothing' });
  };
  const model = asObject(tokenizer.model);
  if (Array.isArray(model.merges)) checkMerges(model, model.merges, refuse);
  for (const [field, part] of parts('normalizer', tokenizer.normalizer)) {
    if (part.type === 'Precompiled' && !isCharsMap(part.precompiled_charsmap)) {
      const found = String(part.precompiled_charsmap).slice(0, 16);
      refuse(`${field}.precompiled_charsmap`, 'a SentencePiece character map in base64', found);
    }
  }
  for (const [field, part] of parts('pre_tokenizer', tokenizer.pre_tokenizer)) {
    if (part.type === 'FixedLength' && part.length === 0)
      refuse(`${field}.length`, 'at least 1', part.length);
  }
  for (const [field, part] of parts('decoder', tokenizer.decoder)) {
    if (part.type === 'Strip' && part.stop !== 0) {
      refuse(`${field}.stop`, '0, because any other value makes the library fail on empty tokens', part.stop);
    }
  }
  for (const [field, part] of parts('post_processor', tokenizer.post_processor)) {
    if (part.type === 'TemplateProcessing') checkTemplate(field, part, refuse);
  }
}

type Refuse = (field: string, expected: string, found: unknown) => void;

const asObject = (value: unknown): Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Json) : {};

const asArray = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);

/** A part and all parts nested in it, each with its path. */
function* parts(field: string, value: unknown): Generator<[string, Json]> {
  const part = asObject(value);
  yield [field, part];
  for (const list of ['normalizers', 'pretokenizers', 'decoders', 'processors']) {
    for (const [i, inner] of asArray(part[list]).entries()) yield* parts(`${field}.${list}[${i}]`, inner);
  }
}

function checkMerges(model: Json, merges: readonly unknown[], refuse: Refuse): void {
  const vocabulary = asObject(model.vocab);
  const prefix = typeof model.continuing_subword_prefix === 'string' ? model.continuing_subword_prefix : '';
  const known = (token: unknown): token is string =>
    typeof token === 'string' && Object.hasOwn(vocabulary, token);
  for (const [i, merge] of merges.entries()) {
    const pair: unknown = typeof merge === 'string' ? merge.split(' ') : merge;
    const [left, right, ...more] = asArray(pair);
    if (known(left) && known(right) && more.length === 0) {
      // The library removes as many bytes as the prefix has, even if they are not the prefix.
      const bytes = Buffer.from(right);
      const cut = Buffer.byteLength(prefix);
      if (cut <= bytes.length && known(left + bytes.subarray(cut).toString())) continue;
    }
    const expected = 'two tokens that, like their merged token, are in the vocabulary';
    refuse(`model.merges[${i}]`, expected, merge);
  }
}

function checkTemplate(field: string, template: Json, refuse: Refuse): void {
  const special = asObject(template.special_tokens);
  for (const name of ['single', 'pair']) {
    for (const [i, piece] of asArray(template[name]).entries()) {
      const at = `${field}.${name}[${i}]`;
      const token = asObject(asObject(piece).SpecialToken).id;
      if (typeof token === 'string' && !Object.hasOwn(special, token)) {
        refuse(at, `one of the special_tokens ${Object.keys(special).join(', ')}`, token);
      }
      const sequence = asObject(asObject(piece).Sequence).id;
      if (name === 'single' && sequence === 'B') refuse(at, 'sequence A', sequence);
    }
  }
  for (const [token, value] of Object.entries(special)) {
    const { ids, tokens } = asObject(value);
    if (asArray(ids).length === asArray(tokens).length) continue;
    refuse(`${field}.special_tokens["${token}"]`, 'as many ids as tokens', value);
  }
}

/** Whether a value holds the size of a trie in bytes, the trie, and the text that the trie points into. */
function isCharsMap(value: unknown): boolean {
  if (typeof value !== 'string' || value.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(value))
    return false;
  const bytes = Buffer.from(value, 'base64');
  if (bytes.length < 4) return false;
  const end = 4 + 4 * Math.floor(bytes.readUInt32LE(0) / 4);
  if (end === 4 || end > bytes.length) return false;
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(end));
    return true;
  } catch {
    return false;
  }
}
