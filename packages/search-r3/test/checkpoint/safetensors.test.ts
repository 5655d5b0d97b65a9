import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { openSafetensors, writeSafetensors } from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { fileOf, freshFolder, readAll, tensor } from './files.js';

describe('the format, byte by byte', () => {
  test('what is written', async () => {
    const path = join(await freshFolder(), 'model.safetensors');
    await writeSafetensors(
      path,
      new Map([
        ['b', tensor([2, 1], [1, -2])],
        ['a', tensor([], [0.5])],
      ]),
    );
    const bytes = await readFile(path);
    const header =
      '{"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},' +
      '"a":{"dtype":"F32","shape":[],"data_offsets":[8,12]}}';
    const padded = header.padEnd(Math.ceil(header.length / 8) * 8);
    expect(Number(bytes.readBigUInt64LE(0))).toBe(padded.length);
    expect(bytes.subarray(8, 8 + padded.length).toString()).toBe(padded);
    // IEEE 754: 1 = 3f800000, -2 = c0000000, 0.5 = 3f000000, little-endian.
    expect(bytes.subarray(8 + padded.length).toString('hex')).toBe('0000803f000000c00000003f');
  });

  test('what is read, tensor by tensor, in whatever order the header has them', async () => {
    const data = Buffer.from('00c03f803e3c000000803f0000c07f', 'hex');
    const path = await fileOf(
      {
        nan: { dtype: 'F32', shape: [2], data_offsets: [7, 15] },
        half: { dtype: 'F16', shape: [1, 1], data_offsets: [5, 7] },
        brain: { dtype: 'BF16', shape: [2], data_offsets: [1, 5] },
        flag: { dtype: 'BOOL', shape: [1], data_offsets: [0, 1] },
        none: { dtype: 'F32', shape: [0, 3], data_offsets: [7, 7] },
      },
      data,
    );
    const file = await openSafetensors(path);
    expect([...file.entries.keys()]).toEqual(['flag', 'brain', 'half', 'none', 'nan']);
    expect((await file.read('brain')).data).toEqual(Float32Array.of(1.5, 0.25));
    expect(await file.read('half')).toEqual(tensor([1, 1], [0x3c * 2 ** -24]));
    expect(await file.read('nan')).toEqual(tensor([2], [1, Number.NaN]));
    expect(await file.read('none')).toEqual(tensor([0, 3], []));
    await expect(file.read('flag')).rejects.toThrow('flag.dtype: expected F64, F32, F16 or BF16, found BOOL');
    await expect(file.read('other')).rejects.toThrow('expected a tensor other, found none of this name');
    await file.close();
  });

  test.each(['f32', 'f16', 'bf16'] as const)(
    'a part of a tensor in %s, into a part of an array',
    async (dtype) => {
      const values = Float32Array.from({ length: 101 }, (_, i) => i - 50);
      const path = join(await freshFolder(), 'x.safetensors');
      await writeSafetensors(path, new Map([['x', { data: values, shape: [101] }]]), dtype);
      const file = await openSafetensors(path);
      for (const length of [0, 1, 2, 7, 30]) {
        const room = new Float32Array(40).fill(1000);
        await file.readInto('x', 60, room.subarray(3, 3 + length));
        const expected = new Float32Array(40).fill(1000);
        expected.set(values.subarray(60, 60 + length), 3);
        expect(room).toEqual(expected);
      }
      await file.close();
    },
  );

  test('a tensor larger than the reading buffer', async () => {
    const values = Float32Array.from({ length: 9_000_001 }, (_, i) => (i % 251) - 125);
    for (const dtype of ['bf16', 'f32'] as const) {
      const path = join(await freshFolder(), 'x.safetensors');
      await writeSafetensors(path, new Map([['x', { data: values, shape: [values.length] }]]), dtype);
      const back = (await readAll(path)).get('x')?.data;
      expect(back?.every((x, i) => x === values[i])).toBe(true);
      expect(back).toHaveLength(values.length);
    }
  });
});

test('any tensors come back, bit by bit, NaN and infinities included', async () => {
  const shape = fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 });
  const anyTensor = shape.chain((dimensions) => {
    const length = dimensions.reduce((a, b) => a * b, 1);
    return fc
      .float32Array({ minLength: length, maxLength: length })
      .map((data) => ({ data, shape: dimensions }));
  });
  const name = fc
    .string({ unit: 'grapheme' })
    .filter((text) => text !== '__metadata__' && text !== '__proto__');
  const tensors = fc.uniqueArray(fc.tuple(name, anyTensor), { selector: ([key]) => key, maxLength: 5 });
  const property = fc.asyncProperty(tensors, async (entries) => {
    const path = join(await freshFolder(), 'x.safetensors');
    await writeSafetensors(path, new Map(entries));
    const back = await readAll(path);
    expect(back.size).toBe(entries.length);
    for (const [key, expected] of entries) expect(back.get(key)).toEqual(expected);
  });
  await fc.assert(property, { numRuns: scaled(50, 1000) });
});

describe('files that lie', () => {
  const entry = (begin: number, end: number, over: object = {}) => ({
    dtype: 'F32',
    shape: [(end - begin) / 4],
    data_offsets: [begin, end],
    ...over,
  });
  const bytes = (n: number) => new Uint8Array(n);
  const plainFile = async (text: string) => {
    const path = join(await freshFolder(), 'model.safetensors');
    await writeFile(path, text);
    return path;
  };
  test.each<[string, () => Promise<string>, RegExp]>([
    [
      'no file',
      async () => join(await freshFolder(), 'none'),
      /expected a readable file, found nothing there/,
    ],
    ['a folder', freshFolder, /found a folder/],
    [
      'an empty file',
      async () => {
        const path = join(await freshFolder(), 'x');
        await writeFile(path, '');
        return path;
      },
      /expected a safetensors file, found an empty file\. Fetch it again\.$/,
    ],
    [
      'a header length beyond the file',
      () => fileOf({}, bytes(0), 3n),
      /header length: expected at most 2 in a file of 10 bytes, found 3/,
    ],
    ['a header length beyond all bounds', () => fileOf({}, bytes(0), 2n ** 63n), /found 9223372036854775808/],
    [
      'an HTML page',
      () => fileOf('<!DOCTYPE html>', bytes(4)),
      /header: expected valid JSON, found an HTML page\. A download saved an error or login page/,
    ],
    [
      'an HTML page without a header',
      () => plainFile('\n<!doctype html><html><title>401</title></html>'),
      /expected a safetensors file, found an HTML page\. A download saved/,
    ],
    [
      'the body of an error',
      () => plainFile('{"error":"Repository not found"}'),
      /found text that begins with "\{\\"error\\":\\"Repository not found\\"\}"\. Fetch it again\.$/,
    ],
    ['zeros', () => plainFile('\0'.repeat(64)), /header length: expected at least 2, found 0\./],
    [
      'a Git LFS pointer',
      () =>
        plainFile(
          `version https://git-lfs.github.com/spec/v1\noid sha256:${'0'.repeat(64)}\nsize 988097824\n`,
        ),
      /expected a safetensors file, found a Git LFS pointer to a file of 988,097,824 bytes\. Fetch the file itself: run "git lfs install" and "git lfs pull" in its folder\.$/,
    ],
    [
      'a pickle of PyTorch',
      () => plainFile('PK\u0003\u0004 data.pkl'),
      /expected a safetensors file, found a zip archive, as torch\.save writes\. Its name is wrong/,
    ],
    ['a GGUF file', () => plainFile('GGUF\u0003\u0000'), /found a GGUF file\. Its name is wrong/],
    ['a header that is a list', () => fileOf('[]', bytes(0)), /header: expected a JSON object, found \[\]/],
    ['bytes that are no text', () => fileOf('"\u0000', bytes(8), 3n), /header: expected valid JSON/],
    [
      'a truncated file',
      () => fileOf({ a: entry(0, 8) }, bytes(7)),
      /size: expected 70 bytes, as its header says, found 69 bytes. The file is truncated/,
    ],
    ['bytes no tensor owns', () => fileOf({ a: entry(0, 8) }, bytes(9)), /size: .*belong to no tensor/],
    [
      'overlapping tensors',
      () => fileOf({ a: entry(0, 8), b: entry(4, 12) }, bytes(12)),
      /b.data_offsets: expected a start at 8.*found 4, overlapping it/,
    ],
    [
      'the same bytes twice',
      () => fileOf({ a: entry(0, 8), b: entry(0, 8) }, bytes(8)),
      /b.data_offsets: .*overlapping/,
    ],
    [
      'a hole',
      () => fileOf({ a: entry(0, 8), b: entry(12, 16) }, bytes(16)),
      /b.data_offsets: .*found 12, leaving a hole/,
    ],
    [
      'a hole at the start',
      () => fileOf({ a: entry(4, 8) }, bytes(8)),
      /a.data_offsets: expected a start at 0/,
    ],
    [
      'offsets upside down',
      () => fileOf({ a: entry(0, 0, { data_offsets: [8, 0], shape: [2] }) }, bytes(8)),
      /a.data_offsets: expected 8 bytes.*found 8 to 0/,
    ],
    [
      'a shape too large for its bytes',
      () => fileOf({ a: entry(0, 8, { shape: [3] }) }, bytes(8)),
      /a.data_offsets: expected 12 bytes for F32 \[3\], found 0 to 8, 8 bytes/,
    ],
    [
      'a shape beyond 2^53',
      () => fileOf({ a: entry(0, 8, { shape: [2 ** 40, 2 ** 40] }) }, bytes(8)),
      /a.data_offsets: expected/,
    ],
    [
      'a negative dimension',
      () => fileOf({ a: entry(0, 8, { shape: [-1, -2] }) }, bytes(8)),
      /tensor a: shape.0/,
    ],
    [
      'another dtype than its bytes',
      () => fileOf({ a: entry(0, 8, { dtype: 'F16' }) }, bytes(8)),
      /expected 4 bytes for F16 \[2\]/,
    ],
    [
      'an unknown dtype',
      () => fileOf({ a: entry(0, 8, { dtype: 'F128' }) }, bytes(8)),
      /a.dtype: .*found F128/,
    ],
    [
      'a dtype named like a method',
      () => fileOf({ a: entry(0, 8, { dtype: 'toString' }) }, bytes(8)),
      /a.dtype: .*found toString/,
    ],
    [
      'offsets with a fraction',
      () => fileOf({ a: entry(0, 8, { data_offsets: [0, 8.5] }) }, bytes(8)),
      /tensor a: data_offsets.1/,
    ],
    [
      'a name twice',
      () =>
        fileOf(
          '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"\\u0061":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
          bytes(4),
        ),
      /header: expected each name once, found "a" twice/,
    ],
    [
      'a field twice',
      () => fileOf('{"a":{"dtype":"F32","dtype":"F16","shape":[2],"data_offsets":[0,4]}}', bytes(4)),
      /found "dtype" twice/,
    ],
    [
      'metadata that is no text',
      () => fileOf({ __metadata__: { step: 3 } }, bytes(0)),
      /__metadata__: step: expected string, found 3/,
    ],
  ])('%s', async (_, make, message) => {
    await expect(make().then(openSafetensors)).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
  });

  test('text that is not UTF-8', async () => {
    const path = await fileOf('{"xx":1}', bytes(0));
    const content = await readFile(path);
    content.fill(0xff, 10, 12);
    await writeFile(path, content);
    await expect(openSafetensors(path)).rejects.toThrow('header: expected UTF-8 text');
  });

  test('the same names in different objects, and braces in names, are no duplicates', async () => {
    const path = await fileOf({ '{"a"': entry(0, 4), a: entry(4, 8), '}:{': entry(8, 12) }, bytes(12));
    expect([...(await readAll(path)).keys()]).toEqual(['{"a"', 'a', '}:{']);
  });
});
