/** Folders that load here as in transformers 5.24, where a reader should know how: each has a note. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { loadCheckpoint, saveCheckpoint, stopIds } from 'search-r3/checkpoint';
import { inspect } from 'search-r3/cli';
import { loadModel } from 'search-r3/pipeline';
import { describe, expect, test } from 'vitest';
import { freshFolder, tensor } from './files.js';
import {
  type Change,
  EMBEDDING,
  edit,
  folderOf,
  HEAD,
  INDEX,
  type Kind,
  negated,
  originals,
  reshard,
  reweigh,
} from './folders.js';
import { makeCheckpoint, shrunk } from './tiny.js';

describe('loads, with a note', () => {
  const ignored = (count: number, kind: string, names: string) =>
    `${count} stored tensor${count === 1 ? ' is not a parameter' : 's are not parameters'} of a ${kind} with this config.json, and ignored: ${names}.`;
  test.each<[string, Kind, Change, string[]]>([
    [
      'biases that config.json does not ask for',
      'llama',
      edit('config.json', { attention_bias: false }),
      [
        ignored(
          8,
          'llama',
          [0, 1]
            .flatMap((i) => ['k', 'o', 'q', 'v'].map((p) => `model.layers.${i}.self_attn.${p}_proj.bias`))
            .join(', '),
        ),
      ],
    ],
    [
      'masks that old versions saved, and a head of another task',
      'qwen2',
      reweigh('qwen2', (w) => {
        w.set('model.layers.0.self_attn.masked_bias', tensor([], [-1e4]));
        w.set('score.weight', tensor([2, 12], new Array(24).fill(1)));
        return w;
      }),
      [ignored(2, 'qwen2', 'model.layers.0.self_attn.masked_bias, score.weight')],
    ],
    [
      'two names of one parameter',
      'qwen3',
      reweigh('qwen3', (w) => w.set('norm.weight', negated(w.get('model.norm.weight')!))),
      ['model.norm.weight and norm.weight are the same parameter: the former is used.'],
    ],
    [
      'a classifier with a tied head',
      'qwen2',
      edit('config.json', { architectures: ['Qwen2ForSequenceClassification'] }),
      ['config.json names the class Qwen2ForSequenceClassification; it is loaded as Qwen2ForCausalLM.'],
    ],
    [
      'sizes that the configuration leaves out',
      'llama',
      edit('config.json', {
        rms_norm_eps: undefined,
        max_position_embeddings: undefined,
        rope_theta: undefined,
      }),
      [
        'config.json leaves fields out; the defaults of transformers are used: max_position_embeddings 2048, rms_norm_eps 0.000001, rope_theta 10000.',
      ],
    ],
    [
      'ropes that differ',
      'llama',
      edit('config.json', {
        rope_scaling: { type: 'linear', factor: 2 },
        rope_parameters: { rope_type: 'default', rope_theta: 10_000 },
      }),
      ['config.json has rope_scaling and rope_parameters, which differ: rope_scaling is used.'],
    ],
    [
      'a sliding window',
      'qwen3',
      edit('config.json', { use_sliding_window: true, sliding_window: 40, max_window_layers: 1 }),
      [
        'Sequences are limited to 40 tokens, not the 64 of max_position_embeddings: its sliding window is not implemented for longer ones.',
      ],
    ],
    [
      'special ids without a row',
      'qwen2',
      async (folder) => {
        await edit('config.json', { pad_token_id: 18, eos_token_id: [5, 99] })(folder);
        await edit('generation_config.json', { eos_token_id: [7, 20] })(folder);
      },
      [
        'config.json: eos_token_id 99 is beyond the 18 rows of the embedding, so it never occurs.',
        'config.json: pad_token_id 18 is beyond the 18 rows of the embedding, so it never occurs.',
        'generation_config.json: eos_token_id 20 is beyond the 18 rows of the embedding, so it never occurs.',
      ],
    ],
    [
      'shards beside one file',
      'qwen2',
      (folder) => writeFile(join(folder, INDEX), '{"weight_map":{}}'),
      ['model.safetensors is read; the shards of model.safetensors.index.json are not.'],
    ],
  ])('%s', async (_, kind, change, notes) => {
    const folder = await folderOf(kind, change);
    const model = await loadCheckpoint(folder);
    expect(model.notes).toEqual(notes);
    for (const [name, weight] of model.weights) expect(weight).toEqual(originals[kind].weights.get(name));
    const { value, text } = await inspect(folder);
    expect(value).toMatchObject({ kind: 'model', notes });
    expect(text()).toContain(`Notes\n${notes.join('\n')}`);
    // loadModel passes them on, with the folder they are about.
    const told: string[] = [];
    await loadModel(folder, (text) => told.push(text));
    expect(told).toEqual(notes.map((note) => `${folder}: ${note}`));
  });

  test('ids without a row stop nothing', async () => {
    const folder = await folderOf(
      'qwen2',
      edit('config.json', { eos_token_id: [5, 99] }),
      edit('generation_config.json', { eos_token_id: [7, 20] }),
    );
    expect(stopIds(await loadCheckpoint(folder))).toEqual([5, 7, 17]);
  });

  test('fewer layers than stored: the others are left out', async () => {
    const folder = await folderOf('qwen2', edit('config.json', { num_hidden_layers: 1 }));
    const { weights, notes } = await loadCheckpoint(folder);
    expect(weights.size).toBe(originals.qwen2.weights.size - 12);
    expect(notes).toEqual([
      expect.stringMatching(/^12 stored tensors are not parameters .*model\.layers\.1\.input_layernorm/),
    ]);
  });

  test('a tied head with values of its own is used, and the model untied for good', async () => {
    const head = negated(originals.qwen2.weights.get(EMBEDDING)!);
    head.data[7] = Number.NaN;
    for (const change of [
      reweigh('qwen2', (w) => w.set(HEAD, head)),
      reshard('qwen2', (w) => w.set(HEAD, head)),
    ]) {
      const folder = await folderOf('qwen2', change);
      const model = await loadCheckpoint(folder);
      expect(model.config.tieWordEmbeddings).toBe(false);
      expect(model.weights.get(HEAD)).toEqual(head);
      expect(model.notes).toEqual([
        expect.stringMatching(/ties the output head .* but lm_head\.weight is stored with other values/),
      ]);
      await saveCheckpoint(join(folder, 'again'), model);
      const again = await loadCheckpoint(join(folder, 'again'));
      expect(again.weights.get(HEAD)).toEqual(head);
      expect(again.notes).toBeUndefined();
    }
  });

  test('a tied head that differs in its last number alone, in another type', async () => {
    const embedding = originals.qwen3.weights.get(EMBEDDING)!;
    const data = embedding.data.slice();
    data[data.length - 1]! += 1;
    const folder = await folderOf(
      'qwen3',
      reshard('qwen3', (w) => w.set(HEAD, { ...embedding, data })),
    );
    expect((await loadCheckpoint(folder)).config.tieWordEmbeddings).toBe(false);
  });

  describe.each(['qwen2', 'llama'] as const)('more ids than rows: %s', (kind) => {
    test('each new row is the mean of the others', async () => {
      const folder = await folderOf(kind);
      const extended = originals[kind].tokenizer.copy();
      for (const token of ['<a>', '<b>', '<c>']) extended.addToken(token);
      await extended.save(folder);
      const model = await loadCheckpoint(folder);
      expect(model.notes).toEqual([
        'The tokenizer has 21 ids but the embedding has 18 rows: 3 rows are added, each the mean of the others.',
      ]);
      expect(model.config.vocabSize).toBe(21);
      for (const name of kind === 'llama' ? [EMBEDDING, HEAD] : [EMBEDDING]) {
        const { data: before } = originals[kind].weights.get(name)!;
        const { data, shape } = model.weights.get(name)!;
        expect(shape).toEqual([21, 12]);
        expect(data.subarray(0, before.length)).toEqual(before);
        for (let column = 0; column < 12; column++) {
          let sum = 0;
          for (let row = 0; row < 18; row++) sum += before[row * 12 + column]!;
          for (const row of [18, 19, 20]) expect(data[row * 12 + column]).toBe(Math.fround(sum / 18));
        }
      }
      // Saved, it is a model like any other.
      await saveCheckpoint(join(folder, 'again'), model);
      const again = await loadCheckpoint(join(folder, 'again'));
      expect(again.notes).toBeUndefined();
      expect(again.weights).toEqual(model.weights);
      expect((await inspect(folder)).value).toMatchObject({ config: { vocabSize: 21 }, notes: model.notes });
    });
  });

  test('more rows than ids are spare, and nothing to note', async () => {
    const folder = join(await freshFolder(), 'spare');
    await saveCheckpoint(folder, makeCheckpoint({ ...shrunk.qwen2, vocab_size: 24 }));
    const { config, notes } = await loadCheckpoint(folder);
    expect([config.vocabSize, notes]).toEqual([24, undefined]);
  });
});
