import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openWeights, writeWeights } from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { freshFolder, tensor } from './files.js';

describe('shards', () => {
  const tensors = new Map([
    ['a', tensor([3], [1, 2, 3])],
    ['b', tensor([2, 2], [4, 5, 6, 7])],
    ['c', tensor([10], new Array(10).fill(8))],
    ['d', tensor([1], [9])],
  ]);

  async function sharded(): Promise<{ folder: string; index: { weight_map: Record<string, string> } }> {
    const folder = await freshFolder();
    await writeWeights(folder, tensors, { maxShardBytes: 30 });
    const index = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'));
    return { folder, index };
  }

  test('each holds as many tensors as fit; a larger one gets its own', async () => {
    const { folder, index } = await sharded();
    const file = (n: number) => `model-0000${n}-of-00003.safetensors`;
    expect(index).toEqual({
      metadata: { total_size: 72 },
      weight_map: { a: file(1), b: file(1), c: file(2), d: file(3) },
    });
    const source = await openWeights(folder);
    expect([...source.entries.keys()]).toEqual(['a', 'b', 'c', 'd']);
    for (const [name, expected] of tensors) expect(await source.read(name)).toEqual(expected);
    await expect(source.read('e')).rejects.toThrow('expected a tensor e');
    await source.close();
  });

  test('one file where all fits; half precision counts half', async () => {
    const folder = await freshFolder();
    await writeWeights(folder, tensors, { maxShardBytes: 36, dtype: 'bf16' });
    expect(await readdir(folder)).toEqual(['model.safetensors']);
    const source = await openWeights(folder);
    expect((await source.read('b')).data).toEqual(Float32Array.of(4, 5, 6, 7));
    await source.close();
  });

  const first = 'model-00001-of-00003.safetensors';
  test.each<[string, (map: Record<string, string>) => void, RegExp]>([
    [
      'a shard that is missing',
      (map) => {
        map.d = 'model-00004.safetensors';
      },
      /model-00004.safetensors: expected a readable file/,
    ],
    [
      'a tensor that is not in its shard',
      (map) => {
        map.d = first;
      },
      /weight_map.d: expected the tensor in model-00001/,
    ],
    [
      'a tensor no shard has',
      (map) => {
        map.e = first;
      },
      /weight_map.e: expected the tensor in/,
    ],
    [
      'a tensor the index forgets',
      (map) => {
        delete map.b;
      },
      /no place for b of model-00001/,
    ],
    [
      'a way out of the folder',
      (map) => {
        map.a = '../model.safetensors';
      },
      /weight_map.a: expected the name of a .safetensors file in the same folder, found "..\/model/,
    ],
    [
      'an absolute path',
      (map) => {
        map.a = '/etc/x.safetensors';
      },
      /weight_map.a: expected the name/,
    ],
    [
      'a Windows path',
      (map) => {
        map.a = '..\\x.safetensors';
      },
      /weight_map.a: expected the name/,
    ],
    [
      'another kind of file',
      (map) => {
        map.a = 'config.json';
      },
      /weight_map.a: expected the name/,
    ],
  ])('%s', async (_, change, message) => {
    const { folder, index } = await sharded();
    change(index.weight_map);
    await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify(index));
    await expect(openWeights(folder)).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
  });

  test('no weights, and weights only Python can read', async () => {
    const folder = await freshFolder();
    await expect(openWeights(folder)).rejects.toThrow(/expected model.safetensors, or .*found neither/);
    await writeFile(join(folder, 'pytorch_model.bin'), '');
    await expect(openWeights(folder)).rejects.toThrow(/Convert it to safetensors/);
  });
});
