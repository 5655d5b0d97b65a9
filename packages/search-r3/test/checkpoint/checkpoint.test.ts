import { cp, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type Checkpoint,
  checkpointFingerprint,
  initialiseWeights,
  loadCheckpoint,
  resolvePrompts,
  saveCheckpoint,
  stopIds,
  type WeightTensor,
  writeSafetensors,
} from 'search-r3/checkpoint';
import { beforeAll, describe, expect, test } from 'vitest';
import { LLAMA_32_1B } from './configs.js';
import { freshFolder } from './files.js';
import { makeCheckpoint, shrunk, TINY, WORDS } from './tiny.js';

const json = async (folder: string, name: string) => JSON.parse(await readFile(join(folder, name), 'utf8'));

test('the tokenizer of these tests has 18 ids', () => {
  // <unk>, three roles, 11 words, three special tokens.
  expect(makeCheckpoint(shrunk.qwen2).tokenizer.vocabSize).toBe(18);
});

describe.each(Object.entries(shrunk))('%s', (_, raw) => {
  test('comes back from its folder, bit by bit', async () => {
    const folder = join(await freshFolder(), 'new', 'model');
    const checkpoint = makeCheckpoint(raw, {
      generationConfig: { eos_token_id: [5, 7], top_p: 0.9 },
    });
    await saveCheckpoint(folder, checkpoint);
    const back = await loadCheckpoint(folder);
    expect([...back.weights]).toEqual([...checkpoint.weights]);
    expect(back.config).toEqual({
      ...checkpoint.config,
      raw: { ...checkpoint.config.raw, torch_dtype: 'float32' },
    });
    expect(back.generationConfig).toEqual({ eos_token_id: [5, 7], top_p: 0.9 });
    expect(back.prompts).toBeUndefined();
    expect(await back.tokenizer.encode(WORDS)).toEqual(await checkpoint.tokenizer.encode(WORDS));
    expect(checkpointFingerprint(back)).toBe(checkpointFingerprint(checkpoint));
    // im_end, eos of the tokenizer, is the last id.
    expect(stopIds(back)).toEqual([5, 7, 17]);
  });

  test('in bf16 and in shards: each value within 2^-8 of itself, and stable from then on', async () => {
    const folder = await freshFolder();
    const checkpoint = makeCheckpoint(raw);
    await saveCheckpoint(join(folder, 'a'), checkpoint, { dtype: 'bf16', maxShardBytes: 1000 });
    const back = await loadCheckpoint(join(folder, 'a'));
    expect(
      (await readdir(join(folder, 'a'))).filter((name) => name.endsWith('.safetensors')).length,
    ).toBeGreaterThan(2);
    let changed = 0;
    for (const [name, { data }] of checkpoint.weights) {
      const stored = back.weights.get(name)?.data ?? new Float32Array();
      data.forEach((x, i) => {
        expect(Math.abs((stored[i] ?? Number.NaN) - x)).toBeLessThanOrEqual(Math.abs(x) * 2 ** -8);
        if (stored[i] !== x) changed++;
      });
    }
    expect(changed).toBeGreaterThan(1000);
    expect(checkpointFingerprint(back)).not.toBe(checkpointFingerprint(checkpoint));
    await saveCheckpoint(join(folder, 'b'), back, { dtype: 'bf16' });
    const again = await loadCheckpoint(join(folder, 'b'));
    expect(checkpointFingerprint(again)).toBe(checkpointFingerprint(back));
  });
});

test('fields of config.json that are not used here are kept; the dtype is told in the layout it came in', async () => {
  const folder = await freshFolder();
  const { torch_dtype: _, rope_theta, rope_scaling, ...rest } = LLAMA_32_1B;
  const raw = {
    ...{ ...rest, ...TINY, head_dim: 2 },
    ...{ rope_parameters: { rope_theta, ...rope_scaling }, dtype: 'bfloat16', my_note: { kept: [1] } },
  };
  const checkpoint = makeCheckpoint(raw);
  await saveCheckpoint(join(folder, 'm'), checkpoint, { dtype: 'f16' });
  const written = await json(join(folder, 'm'), 'config.json');
  expect(written).toEqual({ ...JSON.parse(JSON.stringify(raw)), dtype: 'float16' });
  // With both names, and with the name of a file that is not written.
  const both = makeCheckpoint({ ...raw, torch_dtype: 'bfloat16', transformers_weights: 'x.safetensors' });
  await saveCheckpoint(join(folder, 'both'), both);
  const again = await json(join(folder, 'both'), 'config.json');
  expect(again).toMatchObject({ dtype: 'float32', torch_dtype: 'float32' });
  expect(again).not.toHaveProperty('transformers_weights');
});

describe('saving', () => {
  test('an existing folder stays unless overwrite is given', async () => {
    const folder = join(await freshFolder(), 'model');
    const first = makeCheckpoint(shrunk.qwen2);
    await saveCheckpoint(folder, first);
    const second = { ...first, weights: initialiseWeights(first.config, 4) };
    await expect(saveCheckpoint(folder, second)).rejects.toThrow(/expected a new or empty folder/);
    expect(checkpointFingerprint(await loadCheckpoint(folder))).toBe(checkpointFingerprint(first));
    await saveCheckpoint(folder, second, { overwrite: true });
    expect(checkpointFingerprint(await loadCheckpoint(folder))).toBe(checkpointFingerprint(second));
    expect(await readdir(join(folder, '..'))).toEqual(['model']);
  });

  test('what is no model is never replaced', async () => {
    const folder = await freshFolder();
    await writeFile(join(folder, 'config.json'), '{}');
    for (const overwrite of [false, true]) {
      await expect(saveCheckpoint(folder, makeCheckpoint(shrunk.qwen2), { overwrite })).rejects.toThrow(
        'found a folder that is not empty, and not a model. Only a model is ever replaced: choose another folder.',
      );
    }
    expect(await readdir(folder)).toEqual(['config.json']);
  });

  test('one that fails half-way leaves the old folder and no traces', async () => {
    const folder = join(await freshFolder(), 'model');
    const good = makeCheckpoint(shrunk.qwen2);
    await saveCheckpoint(folder, good);
    const bad = makeCheckpoint(shrunk.qwen2);
    (bad.weights.get('model.norm.weight') as WeightTensor).data[3] = 1e6; // the last tensor, too large for f16
    await expect(saveCheckpoint(folder, bad, { dtype: 'f16', overwrite: true })).rejects.toThrow(
      /model.norm.weight: expected magnitudes below 65520 for f16, found 1000000/,
    );
    expect(checkpointFingerprint(await loadCheckpoint(folder))).toBe(checkpointFingerprint(good));
    expect(await readdir(join(folder, '..'))).toEqual(['model']);
  });

  test.each<[string, (checkpoint: Checkpoint) => void, object, RegExp]>([
    [
      'a tensor too many',
      (c) => c.weights.set('x', { data: new Float32Array(1), shape: [1] }),
      {},
      /x: expected no such tensor, found \[1\]/,
    ],
    [
      'a tensor too few',
      (c) => c.weights.delete('model.norm.weight'),
      {},
      /model.norm.weight: expected \[12\], found no such tensor/,
    ],
    [
      'a wrong shape',
      (c) => c.weights.set('model.norm.weight', { data: new Float32Array(6), shape: [6] }),
      {},
      /expected \[12\], found \[6\]/,
    ],
    [
      'an id without a row',
      (c) => c.tokenizer.addToken('<x>'),
      {},
      /expected ids below the 18 .* found ids up to 18 \(<x>\)/,
    ],
    [
      'prompts without their token',
      (c) => {
        c.prompts = resolvePrompts();
      },
      {},
      /expected the special token <\|embed_token\|>, found none/,
    ],
    ['an unknown dtype', () => {}, { dtype: 'int8' }, /saveCheckpoint options: dtype/],
    ['an unknown option', () => {}, { force: true }, /unknown key "force"/],
  ])('refuses %s, and writes nothing', async (_, change, options, message) => {
    const folder = await freshFolder();
    const checkpoint = makeCheckpoint(shrunk.qwen3);
    change(checkpoint);
    await expect(saveCheckpoint(join(folder, 'model'), checkpoint, options)).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('loading', () => {
  let good: string;
  const original = makeCheckpoint(shrunk.qwen2);
  beforeAll(async () => {
    good = join(await freshFolder(), 'good');
    await saveCheckpoint(good, original);
  });

  async function changed(change: (folder: string) => Promise<unknown>): Promise<string> {
    const folder = join(await freshFolder(), 'bad');
    await cp(good, folder, { recursive: true });
    await change(folder);
    return folder;
  }
  const edit = (name: string, over: object) => async (folder: string) =>
    writeFile(
      join(folder, name),
      JSON.stringify({ ...(await json(folder, name).catch(() => ({}))), ...over }),
    );
  const reweigh = (change: (weights: Map<string, WeightTensor>) => void) => async (folder: string) => {
    const weights = new Map(original.weights);
    change(weights);
    await writeSafetensors(join(folder, 'model.safetensors'), weights);
  };
  const embedding = () => original.weights.get('model.embed_tokens.weight') as WeightTensor;

  test.each<[string, (folder: string) => Promise<unknown>, RegExp]>([
    [
      'no config.json',
      (f) => rm(join(f, 'config.json')),
      /config.json: expected a readable file, found nothing there/,
    ],
    [
      'a run in place of its model',
      async (f) => {
        await rm(join(f, 'config.json'));
        await mkdir(join(f, 'model'));
      },
      /expected a model folder, with config\.json, found a folder with the folder model\. Is it .*model\?$/,
    ],
    ['no tokenizer.json', (f) => rm(join(f, 'tokenizer.json')), /tokenizer.json: expected a readable file/],
    ['no weights', (f) => rm(join(f, 'model.safetensors')), /expected model.safetensors, or/],
    [
      'an unknown architecture',
      edit('config.json', { model_type: 'gpt2' }),
      /config.json: model_type: .*found "gpt2"/,
    ],
    [
      'fewer rows than stored',
      edit('config.json', { vocab_size: 16 }),
      /model.embed_tokens.weight: expected \[16, 12\], from config.json, found \[18, 12\]/,
    ],
    [
      'more rows than stored',
      edit('config.json', { vocab_size: 19 }),
      /model.embed_tokens.weight: expected \[19, 12\], from config.json, found \[18, 12\]/,
    ],
    [
      'more layers than stored',
      edit('config.json', { num_hidden_layers: 3 }),
      /tensors: expected the 38 of a qwen2 of 3 layers, found model.layers.2.input_layernorm.weight, .*\(12 in all\) missing/,
    ],
    [
      'a missing and an unexpected tensor',
      reweigh((w) => {
        w.delete('model.norm.weight');
        w.set('x', embedding());
      }),
      /found model.norm.weight missing; x unexpected/,
    ],
    [
      'no head in an untied model',
      edit('config.json', { tie_word_embeddings: false }),
      /found lm_head.weight missing. If the head is the embedding/,
    ],
    [
      'prompts without their token',
      edit('search_r3.json', { version: 1 }),
      /tokenizer.json: expected the special token <\|embed_token\|>/,
    ],
    [
      'prompts of another version',
      edit('search_r3.json', { version: 3 }),
      /search_r3.json: version: expected 1 or 2, found 3/,
    ],
  ])('refuses %s', async (_, change, message) => {
    const folder = await changed(change);
    await expect(loadCheckpoint(folder)).rejects.toThrow(
      expect.objectContaining({ name: 'InputError', message: expect.stringMatching(message) }),
    );
  });

  test('a truncated file', async () => {
    const folder = await changed(async (at) => {
      const path = join(at, 'model.safetensors');
      await writeFile(path, (await readFile(path)).subarray(0, -1));
    });
    await expect(loadCheckpoint(folder)).rejects.toThrow(/model.safetensors: size: .*truncated/);
  });

  test('tolerates a tied head that is the embedding, rotary tables of old files, and NaN', async () => {
    const folder = await changed(
      reweigh((weights) => {
        const data = Float32Array.from(embedding().data);
        data[5] = Number.NaN;
        weights.set('model.embed_tokens.weight', { ...embedding(), data });
        weights.set('lm_head.weight', { ...embedding(), data });
        weights.set('model.layers.1.self_attn.rotary_emb.inv_freq', { shape: [1], data: Float32Array.of(1) });
      }),
    );
    const { weights } = await loadCheckpoint(folder);
    expect([...weights.keys()]).toEqual([...original.weights.keys()]);
    expect(weights.get('model.embed_tokens.weight')?.data[5]).toBeNaN();
  });

  test('a folder without a chat template takes the one given', async () => {
    const folder = await changed(edit('tokenizer_config.json', { chat_template: null }));
    expect((await loadCheckpoint(folder)).tokenizer.hasChatTemplate).toBe(false);
    const { tokenizer } = await loadCheckpoint(folder, { defaultChatTemplate: 'T' });
    expect(tokenizer.renderChat([{ role: 'user', content: 'x' }])).toBe('T');
  });
});

test('the fingerprint follows weights, configuration and tokenizer, not notes', () => {
  const print = (change: (c: Checkpoint) => void, raw: object = shrunk.qwen2) => {
    const checkpoint = makeCheckpoint(raw);
    change(checkpoint);
    return checkpointFingerprint(checkpoint);
  };
  const base = print(() => {});
  expect(print(() => {})).toBe(base);
  expect(print(() => {}, { ...shrunk.qwen2, transformers_version: '5.0' })).toBe(base);
  const changes = [
    print((c) => {
      (c.weights.get('model.norm.weight') as WeightTensor).data[0] = 1 + 2 ** -23;
    }),
    print(() => {}, { ...shrunk.qwen2, rope_theta: 2e6 }),
    print((c) => c.tokenizer.addToken('city')),
  ];
  expect(new Set([base, ...changes]).size).toBe(4);
});

test('a folder in the way, and a file', async () => {
  const folder = await freshFolder();
  await mkdir(join(folder, 'empty'));
  await writeFile(join(folder, 'file'), 'x');
  const checkpoint = makeCheckpoint(shrunk.qwen2);
  await saveCheckpoint(join(folder, 'empty'), checkpoint);
  expect((await loadCheckpoint(join(folder, 'empty'))).config.layers).toBe(2);
  await expect(saveCheckpoint(join(folder, 'file'), checkpoint)).rejects.toThrow(/found a file/);
});
