/** Files that are damaged, or hold something else, are refused with an error that says what is wrong. */
import { readdirSync } from 'node:fs';
import { cp } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import fc from 'fast-check';
import { openModel } from 'search-r3/checkpoint';
import { InputError } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { scaled } from '../../support/scale.js';
import { type Kind, tinyModel } from './models.js';
import {
  array,
  type FileToWrite,
  f32,
  fileOf,
  flag,
  ggufBytes,
  TENSOR_TYPES,
  type TensorToWrite,
  text,
  u32,
  type Value,
  writeGguf,
} from './writer.js';

async function refusal(path: string): Promise<string> {
  try {
    await (await openModel(path)).close();
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    return error.message.replaceAll(path, 'FILE');
  }
  return 'none';
}

const refusalOf = async (bytes: Uint8Array, name?: string) => refusal(await fileOf(bytes, name));

type Change = (file: FileToWrite) => Partial<FileToWrite>;

async function changed(change: Change, kind: Kind = 'llama'): Promise<FileToWrite> {
  const file = await tinyModel(kind);
  return { ...file, ...change(file) };
}

const refusalAfter = async (change: Change, kind?: Kind) =>
  refusal(await writeGguf(await changed(change, kind)));

const withMetadata =
  (over: Readonly<Record<string, Value>>): Change =>
  ({ metadata }) => ({ metadata: { ...metadata, ...over } });

const without =
  (...keys: string[]): Change =>
  ({ metadata }) => ({
    metadata: Object.fromEntries(Object.entries(metadata).filter(([key]) => !keys.includes(key))),
  });

const withTensor =
  (name: string, over: Partial<TensorToWrite>): Change =>
  ({ tensors }) => ({ tensors: tensors.map((one) => (one.name === name ? { ...one, ...over } : one)) });

const bytes = async () => ggufBytes(await tinyModel('llama'));

describe('other files', () => {
  test.each<[string, Uint8Array, RegExp]>([
    ['an empty file', Buffer.of(), /^FILE: expected a GGUF file, found an empty file\. Fetch it again\.$/],
    ['a page', Buffer.from('<!doctype html><html>'), /found an HTML page\. A download saved an error/],
    [
      'a Git LFS pointer',
      Buffer.from('version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 98362432\n'),
      /found a Git LFS pointer to a file of 98,362,432 bytes/,
    ],
    [
      'GGML',
      Buffer.from('lmgg0123456789'),
      /found a GGML file, the format before GGUF\. Convert the model again/,
    ],
    [
      'safetensors',
      Buffer.from('\x10\0\0\0\0\0\0\0{"a":{}}        '),
      /found a safetensors file\. Give the folder/,
    ],
    ['another magic number', Buffer.from('GGUX0123456789'), /found a file that begins with "GGUX"\.$/],
  ])('%s', async (_, content, message) => {
    expect(await refusalOf(content)).toMatch(message);
  });

  test('big-endian, and versions', async () => {
    const swapped = Buffer.from(await bytes());
    swapped.writeUInt32BE(3, 4);
    expect(await refusalOf(swapped)).toMatch(
      /^FILE: version: expected 2 or 3, little-endian, found a big-endian file/,
    );
    for (const version of [0, 1, 4]) {
      const message = `FILE: version: expected 2 or 3, little-endian, found ${version}.`;
      expect(await refusalAfter(() => ({ version }))).toContain(message);
    }
  });
});

describe('damaged headers', () => {
  test('a file cut anywhere', async () => {
    const whole = await bytes();
    const dataStart = whole.length - (await tensorBytes());
    const ends = fc.oneof(fc.nat(dataStart), fc.nat(whole.length - 1));
    const property = fc.asyncProperty(ends, async (end) => {
      expect(await refusalOf(whole.subarray(0, end))).toMatch(/^FILE: /);
    });
    await fc.assert(property, { numRuns: scaled(60, 3_000) });
  });

  test('any byte changed gives an error that says what is wrong, or a model', async () => {
    const whole = await bytes();
    const dataStart = whole.length - (await tensorBytes());
    const change = fc.tuple(fc.nat(dataStart - 1), fc.nat(255));
    const property = fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
      const damaged = Buffer.from(whole);
      for (const [at, value] of changes) damaged[at] = value;
      // Errors other than an InputError are thrown.
      expect(await refusalOf(damaged)).toMatch(/^FILE|^none$/);
    });
    await fc.assert(property, { numRuns: scaled(100, 10_000) });
  });

  const tensorBytes = async () =>
    (await tinyModel('llama')).tensors.reduce((sum, one) => sum + Math.ceil(one.bytes.length / 32) * 32, 0);

  test.each<[string, number, string]>([
    ['tensors', 8, 'FILE: number of tensors: expected at most'],
    ['metadata entries', 16, 'FILE: number of metadata entries: expected at most'],
    ['bytes of a name', 24, 'FILE: name of metadata entry 0, length: expected at most'],
  ])('a huge number of %s', async (_, at, message) => {
    for (const count of [2n ** 64n - 1n, 2n ** 40n]) {
      const damaged = Buffer.from(await bytes());
      damaged.writeBigUInt64LE(count, at);
      const found = await refusalOf(damaged);
      expect(found).toContain(message);
      expect(found).toContain(`found ${count}. The file is truncated or damaged: fetch it again.`);
    }
  });

  test('a huge array', async () => {
    const file = await changed(withMetadata({ 'zz.q': array('string', ['x']) }));
    const damaged = ggufBytes(file);
    const at = damaged.indexOf('zz.q') + 'zz.q'.length + 4 + 4;
    damaged.writeBigUInt64LE(2n ** 32n, at);
    expect(await refusalOf(damaged)).toMatch(
      /^FILE: zz\.q, length: expected at most \d+ in a file of \d+ bytes, found 4294967296/,
    );
  });

  test('an unknown type of value', async () => {
    const damaged = ggufBytes(await changed(withMetadata({ 'zz.q': u32(1) })));
    damaged.writeUInt32LE(13, damaged.indexOf('zz.q') + 4);
    expect(await refusalOf(damaged)).toContain('FILE: zz.q, type: expected one of 0 to 12, found 13.');
  });

  test('arrays within arrays without end', async () => {
    const nested = (depth: number): Value =>
      depth === 0 ? array('u8', [1]) : { type: 'array', of: 'array', value: [nested(depth - 1)] };
    expect(await refusalAfter(withMetadata({ 'zz.q': nested(3) }))).toBe('none');
    expect(await refusalAfter(withMetadata({ 'zz.q': nested(4) }))).toContain(
      'FILE: zz.q: expected arrays 4 deep at most',
    );
  });

  test('text that is not UTF-8', async () => {
    const damaged = ggufBytes(await changed(withMetadata({ 'zz.q': text('xyz') })));
    damaged[damaged.indexOf('xyz')] = 0xff;
    expect(await refusalOf(damaged)).toContain('FILE: zz.q: expected UTF-8 text, found other bytes.');
  });

  test('a key twice', async () => {
    const damaged = ggufBytes(await changed(withMetadata({ 'zz.q': u32(1), 'zz.r': u32(1) })));
    damaged.write('q', damaged.indexOf('zz.r') + 3);
    expect(await refusalOf(damaged)).toContain('FILE: metadata: expected each name once, found zz.q twice.');
  });

  test.each([0, 3, 24])('an alignment of %i', async (alignment) => {
    const damaged = ggufBytes(await changed(withMetadata({ 'general.alignment': u32(32) })));
    damaged.writeUInt32LE(alignment, damaged.indexOf('general.alignment') + 'general.alignment'.length + 4);
    expect(await refusalOf(damaged)).toBe(
      `FILE: general.alignment: expected a power of two, found ${alignment}.`,
    );
  });
});

describe('tensors', () => {
  const NORM = 'output_norm.weight';

  test('beyond the end of the file', async () => {
    const found = await refusalAfter(withTensor(NORM, { offset: 2 ** 20 }));
    expect(found).toMatch(
      /^FILE: output_norm\.weight: expected bytes \d+ to \d+ for F32 \[24\], found a file of \d+ bytes\. The file is truncated/,
    );
    const huge = await refusalAfter(withTensor(NORM, { shape: [2 ** 40, 24] }));
    expect(huge).toMatch(
      /^FILE: output_norm\.weight: expected bytes \d+ to \d+ for F32 \[1099511627776, 24\]/,
    );
  });

  test('at a place that is not aligned, or that is taken', async () => {
    expect(await refusalAfter(withTensor(NORM, { offset: 8 }))).toContain(
      'FILE: output_norm.weight, offset: expected a multiple of the alignment, 32, found 8.',
    );
    expect(await refusalAfter(withTensor(NORM, { offset: 0 }))).toMatch(
      /^FILE: (?:output_norm|token_embd)\.weight, offset: expected a start at \d+ or later, where (?:output_norm|token_embd)\.weight ends/,
    );
  });

  test('of unknown types, and of types that are not read', async () => {
    expect(await refusalAfter(withTensor(NORM, { type: 99 }))).toMatch(
      /^FILE: output_norm\.weight, type: expected a type of ggml \(F32, .*\), found the unknown type 99\. The file is damaged, or newer/,
    );
    const shape = [1, 256];
    const other = await refusalAfter(
      withTensor('blk.1.ffn_up.weight', { type: TENSOR_TYPES.Q2_K, shape, bytes: new Uint8Array(84) }),
    );
    expect(other).toContain('[40, 24], from metadata, found [1, 256]');
  });

  test('of a type that is not read, before weights are', async () => {
    // Rows of 256, so that the type is what is wrong.
    const file = await tinyModel('llama');
    const metadata = { ...file.metadata, 'llama.feed_forward_length': u32(256) };
    const tensors = file.tensors.map((one) => {
      if (/ffn_(?:up|gate)\.weight/.test(one.name))
        return { ...one, shape: [256, 24], bytes: new Uint8Array(256 * 24 * 4) };
      if (/ffn_(?:up|gate)\.bias/.test(one.name))
        return { ...one, shape: [256], bytes: new Uint8Array(1024) };
      if (!one.name.endsWith('ffn_down.weight')) return one;
      return { ...one, type: TENSOR_TYPES.Q2_K, shape: [24, 256], bytes: new Uint8Array(24 * 84) };
    });
    expect(await refusal(await writeGguf({ metadata, tensors }))).toBe(
      'FILE: blk.0.ffn_down.weight: expected one of the types F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K, ' +
        'found Q2_K. Use the same model in another quantisation, such as Q8_0 or Q4_K_M.',
    );
  });

  test('with rows that are no whole number of blocks', async () => {
    expect(await refusalAfter(withTensor(NORM, { type: TENSOR_TYPES.Q8_0 }))).toContain(
      'FILE: output_norm.weight, dimensions: expected rows of a multiple of 32 elements, for Q8_0, found [24].',
    );
  });

  test('twice, missing, or of another shape', async () => {
    const twice = await refusalAfter(({ tensors }) => ({
      tensors: [...tensors, tensors.find(({ name }) => name === NORM)!],
    }));
    expect(twice).toContain('FILE: tensors: expected each name once, found output_norm.weight twice.');
    const missing = await refusalAfter(({ tensors }) => ({
      tensors: tensors.filter(({ name }) => name !== NORM),
    }));
    expect(missing).toMatch(
      /^FILE: tensors: expected the \d+ of a llama of 2 layers, found model\.norm\.weight missing\.$/,
    );
    const shape = await refusalAfter(withTensor(NORM, { shape: [12, 2] }));
    expect(shape).toBe('FILE: model.norm.weight: expected [24], from metadata, found [12, 2].');
  });

  test('with five dimensions', async () => {
    expect(await refusalAfter(withTensor(NORM, { shape: [1, 1, 1, 1, 24] }))).toContain(
      'FILE: output_norm.weight, number of dimensions: expected at most 4',
    );
  });
});

describe('other models', () => {
  test.each<[string, Readonly<Record<string, Value>>, string]>([
    [
      'another architecture',
      { 'general.architecture': text('gemma3') },
      'general.architecture: expected one of the architectures llama, qwen2, qwen3, found gemma3.',
    ],
    ['experts', { 'llama.expert_count': u32(8) }, 'llama.expert_count: expected 0, or nothing, found 8.'],
    [
      'attention to both sides',
      { 'llama.attention.causal': flag(false) },
      'llama.attention.causal: expected true, or nothing, found false.',
    ],
    [
      'a rotary embedding of half of the head',
      { 'llama.rope.dimension_count': u32(2) },
      'llama.rope.dimension_count: expected the head size, 4, found 2.',
    ],
    [
      'another scaling of positions',
      { 'llama.rope.scaling.type': text('longrope') },
      'llama.rope.scaling.type: expected one of none, linear, yarn, found longrope.',
    ],
    [
      'another variant of YaRN',
      {
        'llama.rope.scaling.type': text('yarn'),
        'llama.rope.scaling.yarn_ext_factor': f32(0.5),
      },
      'llama.rope.scaling.yarn_ext_factor: expected 1, or nothing, found 0.5.',
    ],
    [
      'layers of different sizes',
      { 'llama.feed_forward_length': array('i32', [40, 48]) },
      'llama.feed_forward_length: expected a whole number from 1, the same for every layer, found a list of 2.',
    ],
    [
      'one part of several',
      { 'split.count': { type: 'u16', value: 3 } },
      'split.count: expected a model in one file, found one of 3 parts. Merge',
    ],
    [
      'a size of another type',
      { 'llama.block_count': text('2') },
      'llama.block_count: expected a whole number from 1, the same for every layer, found "2".',
    ],
    [
      'another tokenizer',
      { 'tokenizer.ggml.model': text('bert') },
      'tokenizer.ggml.model: expected gpt2 (byte-level BPE) or llama (SentencePiece), found bert.',
    ],
    [
      'another pre-tokenizer',
      { 'tokenizer.ggml.pre': text('tekken') },
      'tokenizer.ggml.pre: expected one of gpt-2, smollm, starcoder, qwen2, deepseek-r1-qwen, llama-bpe, llama3, llama-v3, default, found tekken.',
    ],
    [
      'tokens of another type',
      { 'tokenizer.ggml.tokens': array('u32', [1, 2]) },
      'tokenizer.ggml.tokens: expected a list of texts, found a list of 2.',
    ],
    [
      'a token twice',
      {
        'tokenizer.ggml.tokens': array('string', ['a', 'b', 'a']),
        'tokenizer.ggml.token_type': array('i32', [1, 1, 1]),
      },
      'tokenizer.ggml.tokens: expected each token once, found "a" with the ids 0 and 2.',
    ],
    [
      'too few types',
      { 'tokenizer.ggml.token_type': array('i32', [1, 1]) },
      'tokenizer.ggml.token_type: expected a list of',
    ],
    [
      'a merge of unknown tokens',
      { 'tokenizer.ggml.merges': array('string', ['Q W', 'zz zz']) },
      'tokenizer.ggml.merges[0]: expected two tokens that, like their merged token, are in the vocabulary, found "Q W".',
    ],
    [
      'a template that is wrong',
      { 'tokenizer.chat_template': text('{% for %}') },
      'expected a Jinja template',
    ],
  ])('%s', async (_, over, message) => {
    expect(await refusalAfter(withMetadata(over))).toContain(message);
  });

  test.each([
    'general.architecture',
    'llama.block_count',
    'llama.attention.layer_norm_rms_epsilon',
    'tokenizer.ggml.model',
    'tokenizer.ggml.tokens',
    'tokenizer.ggml.merges',
  ])('%s is missing', async (key) => {
    expect(await refusalAfter(without(key))).toBe(`FILE: ${key}: expected a value, found nothing.`);
  });
});

describe('folders', () => {
  test('several files', async () => {
    const path = await writeGguf(await tinyModel('llama'));
    const folder = dirname(path);
    await cp(path, join(folder, 'other.gguf'));
    await expect(openModel(folder)).rejects.toThrow(
      `${folder}: expected a model folder, with config.json, or one GGUF file, found 2 GGUF files: model.gguf, other.gguf. Give the path of one of them, such as ${path}.`,
    );
  });
});

test.skipIf(process.platform !== 'linux')('refused files are closed', async () => {
  const paths = [await fileOf((await bytes()).subarray(0, 3000)), await fileOf(Buffer.from('x'))];
  for (const change of [
    without('llama.block_count'),
    without('tokenizer.ggml.model'),
    () => ({ tensors: [] }),
  ]) {
    paths.push(await writeGguf(await changed(change)));
  }
  const open = () => readdirSync('/proc/self/fd').length;
  const before = open();
  for (const path of paths) expect(await refusal(path)).toMatch(/^FILE/);
  expect(open()).toBe(before);
});
