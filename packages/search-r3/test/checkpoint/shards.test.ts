import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { openWeights, writeSafetensors, writeWeights } from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { freshFolder, tensor } from './files.js';

describe('shards', () => {
  const tensors = new Map([
    ['a', tensor([3], [1, 2, 3])],
    ['b', tensor([2, 2], [4, 5, 6, 7])],
    ['c', tensor([10], new Array(10).fill(8))],
    ['d', tensor([1], [9])],
  ]);

  const file = (n: number) => `model-0000${n}-of-00003.safetensors`;

  async function sharded(): Promise<{ folder: string; index: { weight_map: Record<string, string> } }> {
    const folder = await freshFolder();
    await writeWeights(folder, tensors, { maxShardBytes: 30 });
    const index = JSON.parse(await readFile(join(folder, 'model.safetensors.index.json'), 'utf8'));
    return { folder, index };
  }

  test('each holds as many tensors as fit; a larger one gets its own', async () => {
    const { folder, index } = await sharded();
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

  const changed = async (change: (map: Record<string, string>) => void, over: object = {}) => {
    const { folder, index } = await sharded();
    change(index.weight_map);
    await writeFile(join(folder, 'model.safetensors.index.json'), JSON.stringify({ ...index, ...over }));
    return folder;
  };

  test.each<[string, (map: Record<string, string>) => void, object]>([
    [
      'a tensor under the name of another shard',
      (map) => {
        map.d = file(1);
        map.e = file(3);
      },
      {},
    ],
    [
      'a tensor that no shard has',
      (map) => {
        map.e = file(1);
      },
      {},
    ],
    [
      'a tensor that the index leaves out',
      (map) => {
        delete map.b;
      },
      {},
    ],
    ['no metadata', () => {}, { metadata: undefined }],
    ['a wrong total size', () => {}, { metadata: { total_size: 1 } }],
  ])('the index only names files: %s', async (_, change, over) => {
    const source = await openWeights(await changed(change, over));
    expect([...source.entries.keys()].sort()).toEqual(['a', 'b', 'c', 'd']);
    for (const [name, expected] of tensors) expect(await source.read(name)).toEqual(expected);
    expect(source.notes).toEqual([]);
    await source.close();
  });

  test('of two tensors of one name, the last file has the right one', async () => {
    const { folder } = await sharded();
    const twice = new Map([
      ['d', tensor([1], [9])],
      ['a', tensor([3], [7, 7, 7])],
    ] as const);
    await writeSafetensors(join(folder, file(3)), twice);
    const source = await openWeights(folder);
    expect((await source.read('a')).data).toEqual(Float32Array.of(7, 7, 7));
    expect(source.notes).toEqual([`a is in ${file(1)} and in ${file(3)}: the latter is used.`]);
    await source.close();
  });

  test('model.safetensors goes before the shards', async () => {
    const { folder } = await sharded();
    await writeSafetensors(join(folder, 'model.safetensors'), new Map([['a', tensor([1], [5])]]));
    const source = await openWeights(folder);
    expect([...source.entries.keys()]).toEqual(['a']);
    expect(source.notes).toEqual([
      'model.safetensors is read; the shards of model.safetensors.index.json are not.',
    ]);
    await source.close();
  });

  test('shards in a folder of their own, and a file or an index named by the configuration', async () => {
    const { folder, index } = await sharded();
    await mkdir(join(folder, 'parts'));
    for (const name of new Set(Object.values(index.weight_map))) {
      await rename(join(folder, name), join(folder, 'parts', name));
    }
    const moved = Object.entries(index.weight_map).map(([name, at]) => [name, `parts/${at}`]);
    await rm(join(folder, 'model.safetensors.index.json'));
    await writeFile(
      join(folder, 'other.safetensors.index.json'),
      JSON.stringify({ weight_map: Object.fromEntries(moved) }),
    );
    const source = await openWeights(folder, 'other.safetensors.index.json');
    expect(await source.read('d')).toEqual(tensors.get('d'));
    await source.close();
    const one = await openWeights(folder, `parts/${file(2)}`);
    expect([...one.entries.keys()]).toEqual(['c']);
    await one.close();
    await expect(openWeights(folder, '../x.safetensors')).rejects.toThrow(
      /config\.json: transformers_weights: expected the name of a \.safetensors file inside the folder/,
    );
  });

  const outside = /weight_map.a: expected the name of a .safetensors file inside the folder, found "/;
  test.each<[string, (map: Record<string, string>) => void, RegExp]>([
    [
      'shards that are missing',
      (map) => {
        map.c = 'model-00004.safetensors';
        map.d = 'model-00005.safetensors';
      },
      /index.json: weight_map: expected its 3 shards in the folder, found 2 of them missing: model-00004.safetensors, model-00005.safetensors. Fetch the missing files.$/,
    ],
    [
      'a way out of the folder',
      (map) => {
        map.a = '../model.safetensors';
      },
      outside,
    ],
    [
      'a way out through another folder',
      (map) => {
        map.a = 'parts/../../model.safetensors';
      },
      outside,
    ],
    [
      'an absolute path',
      (map) => {
        map.a = '/etc/x.safetensors';
      },
      outside,
    ],
    [
      'a Windows path',
      (map) => {
        map.a = '..\\x.safetensors';
      },
      outside,
    ],
    [
      'another kind of file',
      (map) => {
        map.a = 'config.json';
      },
      outside,
    ],
  ])('%s', async (_, change, message) => {
    await expect(openWeights(await changed(change))).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
  });

  test.each<[string, RegExp]>([
    ['README.md', /expected model.safetensors, or .*, found neither\.$/],
    [
      'pytorch_model.bin',
      /found pytorch_model.bin, a pickle, which only Python can read. Convert it with tr/,
    ],
    ['pytorch_model.bin.index.json', /found pytorch_model.bin.index.json, a pickle/],
    [
      'model-00001-of-00002.safetensors',
      /found model-00001-of-00002.safetensors, a shard without its index. Fetch model.safetensors.index.json/,
    ],
    ['model.fp16.safetensors', /a variant of the weights. Rename it to model.safetensors to use it.$/],
    ['adapter_model.safetensors', /a LoRA adapter. Merge it into its base model first/],
    ['consolidated.00.pth', /weights in the layout of their authors/],
    ['model.Q4_K_M.gguf', /a GGUF file. Give the path of that file instead of the folder.$/],
    ['model.safetensors.incomplete', /an unfinished download. Fetch it again.$/],
    [
      'weights.safetensors',
      /a file of another name. Rename it to model.safetensors if it is the whole model.$/,
    ],
    ['model.onnx', /an ONNX model. Use the model it was exported from.$/],
    ['flax_model.msgpack', /weights of another framework/],
  ])('weights that are not read: %s', async (name, message) => {
    const folder = await freshFolder();
    await writeFile(join(folder, name), '');
    await expect(openWeights(folder)).rejects.toThrow(message);
  });
});
