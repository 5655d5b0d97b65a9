/**
 * Folders as people have them: what transformers 5.24 loads without a word for these architectures loads here. Expected
 * behaviour is that of `core_model_loading.py`, of `tie_weights` and `_adjust_missing_and_unexpected_keys` in
 * `modeling_utils.py` and of `get_checkpoint_shard_files` in `utils/hub.py`.
 */
import { cp, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadCheckpoint, openModel, writeSafetensors } from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { fileOf, tensor } from './files.js';
import {
  type Change,
  EMBEDDING,
  edit,
  folderOf,
  HEAD,
  INDEX,
  type Kind,
  originals,
  rename,
  reshard,
  reweigh,
  savedFolder,
  type Tensors,
} from './folders.js';

const table = tensor([1], [1]);
const rotary = (weights: Tensors) => {
  weights.set('model.layers.0.self_attn.rotary_emb.inv_freq', table);
  weights.set('model.layers.1.self_attn.rotary_emb.inv_freq', table);
};

describe('loads with the same weights, and nothing to note', () => {
  test.each<[string, Kind, Change]>([
    [
      'a tied head listed in the index, but in no shard',
      'qwen2',
      reshard(
        'qwen2',
        () => {},
        (places) => {
          places[HEAD] = places['model.norm.weight'] as string;
        },
      ),
    ],
    [
      'a tied head in the file, equal to the embedding',
      'qwen3',
      reweigh('qwen3', (w) => w.set(HEAD, w.get(EMBEDDING)!)),
    ],
    [
      'a tied head in the file, and no embedding',
      'qwen2',
      reweigh('qwen2', (w) => {
        w.set(HEAD, w.get(EMBEDDING)!);
        w.delete(EMBEDDING);
        return w;
      }),
    ],
    [
      'rotary tables in one file',
      'llama',
      reweigh('llama', (w) => {
        rotary(w);
        return w;
      }),
    ],
    ['rotary tables in shards, listed', 'llama', reshard('llama', rotary)],
    [
      'rotary tables in shards, not listed',
      'llama',
      reshard('llama', rotary, (places) => {
        for (const name of Object.keys(places)) if (name.includes('rotary')) delete places[name];
      }),
    ],
    [
      'rotary tables listed, but in no shard',
      'qwen2',
      reshard(
        'qwen2',
        () => {},
        (places) => {
          places['model.layers.0.self_attn.rotary_emb.inv_freq'] = places[EMBEDDING] as string;
        },
      ),
    ],
    [
      'names without the prefix of the base model',
      'qwen3',
      reweigh('qwen3', (w) => rename(w, (name) => name.replace(/^model\./, ''))),
    ],
    [
      'the same beside an untied head',
      'llama',
      reweigh('llama', (w) => rename(w, (name) => name.replace(/^model\./, ''))),
    ],
    [
      'names with one prefix too many',
      'llama',
      reweigh('llama', (w) => rename(w, (name) => `model.${name}`)),
    ],
    ['the class of the base model', 'qwen3', edit('config.json', { architectures: ['Qwen3Model'] })],
    ['no architectures', 'llama', edit('config.json', { architectures: undefined })],
    ['no model_type, but a class', 'qwen2', edit('config.json', { model_type: undefined })],
    [
      'a null where a default applies',
      'llama',
      edit('config.json', { head_dim: null, rope_scaling: null, use_cache: null }),
    ],
    [
      'fields that nothing here uses',
      'qwen2',
      edit('config.json', { pretraining_tp: 2, my_note: { a: [1] }, num_experts: 0 }),
    ],
    [
      'metadata of the header that are null',
      'qwen2',
      async (folder) => {
        const path = join(folder, 'model.safetensors');
        const content = await readFile(path);
        const length = Number(content.readBigUInt64LE());
        const header = JSON.parse(content.toString('utf8', 8, 8 + length)) as object;
        const written = await fileOf({ ...header, __metadata__: null }, content.subarray(8 + length));
        await cp(written, path);
      },
    ],
  ])('%s', async (_, kind, change) => {
    const folder = await folderOf(kind, change);
    const { weights, notes, config } = await loadCheckpoint(folder);
    expect(weights).toEqual(originals[kind].weights);
    expect(notes).toBeUndefined();
    const { raw: _raw, ...shape } = originals[kind].config;
    expect(config).toMatchObject(shape);
  });

  test('numbers stored as float64', async () => {
    const [name, { shape, data }] = [...originals.qwen2.weights][0]!;
    const values = Float64Array.from(data, (x, i) => x + i * 1e-12);
    const bytes = new Uint8Array(values.buffer);
    const rest = [...originals.qwen2.weights].slice(1);
    const folder = await folderOf('qwen2', async (at) => {
      await rm(join(at, 'model.safetensors'));
      const entry = { dtype: 'F64', shape, data_offsets: [0, bytes.length] };
      await cp(await fileOf({ [name]: entry }, bytes), join(at, 'b.safetensors'));
      await writeSafetensors(join(at, 'a.safetensors'), new Map(rest));
      await writeFile(
        join(at, INDEX),
        JSON.stringify({ weight_map: { x: 'a.safetensors', y: 'b.safetensors' } }),
      );
    });
    const { weights } = await loadCheckpoint(folder);
    expect(weights.get(name)?.data).toEqual(Float32Array.from(values));
    expect(weights.get('model.norm.weight')).toEqual(originals.qwen2.weights.get('model.norm.weight'));
  });
});

const PROMPT = { system: 'topic', assistant: 'the topic is' };
const WITH_TOKEN = {
  pooling: 'embed-token',
  prompts: { query: PROMPT, document: PROMPT, embedToken: '<|new|>' },
} as const;
test.each([
  ['', {}, 18],
  [', those with a row for a new token too', { embedding: { prompts: WITH_TOKEN } }, 19],
] as const)('parameters are read in parts%s', async (_, options, rows) => {
  const model = await openModel(await savedFolder('llama'), options);
  const whole = await model.readWeights();
  expect(whole.get(EMBEDDING)?.shape).toEqual([rows, 12]);
  for (const [name, { data }] of whole) {
    for (const start of [0, 1, data.length - 2]) {
      const part = new Float32Array(2);
      await model.readParameter(name, start, part);
      expect(part).toEqual(data.slice(start, start + 2));
    }
  }
  await model.close();
});

test('a model that is open can be closed without being read', async () => {
  const model = await openModel(await savedFolder('qwen3'));
  expect(model.config.layers).toBe(2);
  await model.close();
  await expect(model.readWeights()).rejects.toThrow();
});
