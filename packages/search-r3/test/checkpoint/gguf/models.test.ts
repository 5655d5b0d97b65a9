/** Models of each architecture in GGUF files mean what the same model means in a Hugging Face folder. */
import { cp, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { loadCheckpoint, openGguf, openModel, saveCheckpoint, stopIds } from 'search-r3/checkpoint';
import { inverseFrequencies, rotaryMagnitude } from 'search-r3/decoder';
import { describe, expect, test } from 'vitest';
import { type Kind, modelFile, tinyCheckpoint, tinyModel } from './models.js';
import { TEXTS } from './vocabularies.js';
import { array, type FileToWrite, f32, scalar, TENSOR_TYPES, text, u32, writeGguf } from './writer.js';

const KINDS: readonly Kind[] = ['llama', 'qwen2', 'qwen3'];

describe.each(KINDS)('%s', (kind) => {
  test('weights, configuration and tokenizer', async () => {
    const original = await tinyCheckpoint(kind);
    const model = await loadCheckpoint(await writeGguf(await modelFile(original)));
    expect(model.weights).toEqual(original.weights);
    expect({ ...model.config, raw: {}, initializerRange: 0 }).toEqual({
      ...original.config,
      raw: {},
      initializerRange: 0,
    });
    expect(model.notes).toBeUndefined();
    expect(await model.tokenizer.encodeBatch(TEXTS)).toEqual(await original.tokenizer.encodeBatch(TEXTS));
    expect(stopIds(model)).toEqual([original.tokenizer.eosId]);
    expect(model.prompts).toBeUndefined();
  });

  test('saved, it is an ordinary folder', async () => {
    const path = await writeGguf(await tinyModel(kind));
    const model = await loadCheckpoint(path);
    const folder = join(dirname(path), 'saved');
    await saveCheckpoint(folder, model);
    const back = await loadCheckpoint(folder);
    expect(back.weights).toEqual(model.weights);
    expect({ ...back.config, raw: {} }).toEqual({ ...model.config, raw: {} });
    expect(back.tokenizer.fingerprint()).toBe(model.tokenizer.fingerprint());
    expect(back.generationConfig).toEqual(model.generationConfig);
    expect(back.notes).toBeUndefined();
  });

  test('a tied head, and an untied one', async () => {
    for (const tie_word_embeddings of [true, false]) {
      const original = await tinyCheckpoint(kind, { tie_word_embeddings });
      const { config, weights } = await loadCheckpoint(await writeGguf(await modelFile(original)));
      expect(config.tieWordEmbeddings).toBe(tie_word_embeddings);
      expect([...weights.keys()]).toEqual([...original.weights.keys()]);
    }
  });
});

test('a folder with one GGUF file stands for the file; prompts beside it make it a retriever', async () => {
  const original = await tinyCheckpoint('qwen2');
  const embedToken = '<|im_start|>';
  const path = await writeGguf(await modelFile(original));
  await writeFile(join(dirname(path), 'search_r3.json'), JSON.stringify({ embedToken }));
  for (const given of [path, dirname(path)]) {
    const { weights, prompts } = await loadCheckpoint(given);
    expect(weights).toEqual(original.weights);
    expect(prompts?.embedToken).toBe(embedToken);
  }
});

test('a folder with config.json is read as one, whatever else is in it', async () => {
  const original = await tinyCheckpoint('qwen3');
  const other = await writeGguf(await tinyModel('llama'));
  const folder = join(dirname(other), 'folder');
  await saveCheckpoint(folder, original);
  await cp(other, join(folder, 'model.gguf'));
  expect((await loadCheckpoint(folder)).config.architecture).toBe('qwen3');
  expect((await loadCheckpoint(join(folder, 'model.gguf'))).config.architecture).toBe('llama');
});

test('weights in half precision', async () => {
  const original = await tinyCheckpoint('llama');
  const file = await modelFile(original);
  const halved = file.tensors.map((tensor) => {
    const values = new Float32Array(Uint8Array.from(tensor.bytes).buffer);
    // The upper half of a float32 is a bfloat16.
    const words = Uint16Array.from(new Uint32Array(values.buffer), (bits) => bits >>> 16);
    return { ...tensor, type: TENSOR_TYPES.BF16, bytes: new Uint8Array(words.buffer) };
  });
  const { weights } = await loadCheckpoint(await writeGguf({ ...file, tensors: halved }));
  for (const [name, { data }] of original.weights) {
    const expected = new Float32Array(
      Uint32Array.from(new Uint32Array(data.slice().buffer), (bits) => bits & ~0xffff).buffer,
    );
    expect([name, weights.get(name)?.data]).toEqual([name, expected]);
  }
});

describe('metadata', () => {
  const change = async (kind: Kind, over: FileToWrite['metadata'], without: readonly string[] = []) => {
    const file = await tinyModel(kind);
    const metadata = Object.fromEntries(
      Object.entries({ ...file.metadata, ...over }).filter(([key]) => !without.includes(key)),
    );
    return { ...file, metadata };
  };
  const opened = async (file: FileToWrite) => {
    const { declared, stored } = await openGguf(await writeGguf(file));
    await stored.close();
    return declared.config;
  };

  test('values of every type are passed over, whatever the version and the alignment', async () => {
    const others: FileToWrite['metadata'] = {
      'a.u8': scalar('u8', 255),
      'a.i8': scalar('i8', -128),
      'a.u16': scalar('u16', 65_535),
      'a.i16': scalar('i16', -32_768),
      'a.i32': scalar('i32', -2_147_483_648),
      'a.u64': scalar('u64', 2n ** 64n - 1n),
      'a.i64': scalar('i64', -(2n ** 63n)),
      'a.f32': f32(1.5),
      'a.f64': scalar('f64', 0.1),
      'a.bool': scalar('bool', true),
      'a.text': text('Füße \ufffd'),
      'a.none': array('string', []),
      'a.flags': array('bool', [true, false]),
      'a.bytes': array('u8', [1, 2, 3]),
      'a.doubles': array('f64', [1, 2]),
      'a.nested': { type: 'array', of: 'array', value: [array('u16', [1, 2]), array('string', ['x'])] },
    };
    const original = await tinyCheckpoint('llama');
    const file = await modelFile(original);
    for (const [version, alignment] of [
      [2, 32],
      [3, 128],
      [3, 1],
    ] as const) {
      const metadata = { ...others, ...file.metadata, 'general.alignment': u32(alignment) };
      const { weights } = await loadCheckpoint(await writeGguf({ ...file, version, metadata }));
      expect(weights).toEqual(original.weights);
    }
  });

  test('numbers that float32 rounds are read as they were meant', async () => {
    const config = await opened(
      await change('llama', {
        'llama.attention.layer_norm_rms_epsilon': f32(1e-5),
        'llama.rope.freq_base': f32(1e6),
      }),
    );
    expect(config.raw).toMatchObject({ rms_norm_eps: 1e-5, rope_theta: 1e6 });
  });

  test('what may be left out', async () => {
    const without = [
      'attention.key_length',
      'attention.value_length',
      'rope.freq_base',
      'attention.head_count_kv',
    ];
    const config = await opened(
      await change(
        'qwen2',
        {},
        without.map((key) => `qwen2.${key}`),
      ),
    );
    // 24 / 6; the defaults of llama.cpp.
    expect(config).toMatchObject({ headDim: 4, ropeTheta: 10_000, kvHeads: 6 });
  });

  test('sizes by layer that are all the same', async () => {
    const config = await opened(
      await change('llama', { 'llama.attention.head_count_kv': array('i32', [2, 2]) }),
    );
    expect(config.kvHeads).toBe(2);
  });

  test('linear scaling of positions', async () => {
    const factor = { 'llama.rope.scaling.factor': f32(4) };
    const linear = { type: 'linear', factor: 4 };
    expect((await opened(await change('llama', factor))).ropeScaling).toEqual(linear);
    expect((await opened(await change('llama', { 'llama.rope.scale_linear': f32(4) }))).ropeScaling).toEqual(
      linear,
    );
    const none = { ...factor, 'llama.rope.scaling.type': text('none') };
    expect((await opened(await change('llama', none))).ropeScaling).toBeNull();
  });

  test('YaRN', async () => {
    const yarn = {
      'qwen2.rope.scaling.type': text('yarn'),
      'qwen2.rope.scaling.factor': f32(4),
      'qwen2.rope.scaling.original_context_length': u32(16),
      'qwen2.rope.scaling.yarn_beta_fast': f32(24),
    };
    const { ropeScaling } = await opened(await change('qwen2', yarn));
    expect(ropeScaling).toMatchObject({
      type: 'yarn',
      factor: 4,
      originalMaxPosition: 16,
      betaFast: 24,
      betaSlow: 1,
    });
    // The default of transformers and of llama.cpp: 0.1 ln(factor) + 1.
    expect(ropeScaling).toMatchObject({ attentionFactor: 0.1 * Math.log(4) + 1 });
  });

  describe('rope_freqs.weight', () => {
    const withFactors = async (factors: readonly number[], over: FileToWrite['metadata'] = {}) => {
      const file = await change('llama', { 'llama.rope.freq_base': f32(500_000), ...over });
      const bytes = new Uint8Array(Float32Array.from(factors).buffer);
      const tensor = { name: 'rope_freqs.weight', type: TENSOR_TYPES.F32, shape: [factors.length], bytes };
      return writeGguf({ ...file, tensors: [tensor, ...file.tensors] });
    };
    const wide = async (factors: readonly number[]) => {
      const original = await tinyCheckpoint('llama', { head_dim: 64 });
      const file = await modelFile(original);
      const metadata = { ...file.metadata, 'llama.rope.freq_base': f32(500_000) };
      const bytes = new Uint8Array(Float32Array.from(factors).buffer);
      const tensor = { name: 'rope_freqs.weight', type: TENSOR_TYPES.F32, shape: [32], bytes };
      return openModel(await writeGguf({ metadata, tensors: [...file.tensors, tensor] }));
    };
    /** As `convert_hf_to_gguf.py` computes them for Llama 3.2: factor 32 of 8,192 positions. */
    const llama32 = Array.from({ length: 32 }, (_, i) => {
      const wavelength = 2 * Math.PI * 500_000 ** ((2 * i) / 64);
      if (wavelength < 8192 / 4) return 1;
      if (wavelength > 8192 / 1) return 32;
      const smooth = (8192 / wavelength - 1) / (4 - 1);
      return 1 / ((1 - smooth) / 32 + smooth);
    });

    test("Llama 3's parameters are found again", async () => {
      const model = await wide(llama32);
      await model.close();
      expect(model.config.ropeScaling).toEqual({
        type: 'llama3',
        factor: 32,
        lowFreqFactor: 1,
        highFreqFactor: 4,
        originalMaxPosition: 8192,
      });
      expect(model.notes).toEqual([]);
    });

    test('other factors divide the frequencies as they are', async () => {
      const factors = llama32.map((factor, i) => factor * (i % 3 === 0 ? 1 : 1.25));
      const model = await wide(factors);
      await model.close();
      const { config, notes } = model;
      const expected = factors.map((factor, i) => 500_000 ** (-(2 * i) / 64) / factor);
      const found = inverseFrequencies(config);
      expect(found).toHaveLength(32);
      for (const [i, frequency] of expected.entries()) expect(found[i]! / frequency).toBeCloseTo(1, 5);
      expect(rotaryMagnitude(config)).toBe(1);
      expect([config.maxPositions, notes]).toEqual([64, []]);
    });

    test('factors of 1 are none', async () => {
      const model = await openModel(await withFactors([1, 1]));
      await model.close();
      expect([model.config.ropeScaling, model.notes]).toEqual([null, []]);
    });

    test('are refused if there are too few, or beside another scaling', async () => {
      await expect(openModel(await withFactors([1, 2, 3]))).rejects.toThrow(
        'rope_freqs.weight: expected 2 factors, one for each frequency, found 3',
      );
      await expect(
        openModel(await withFactors([1, 2], { 'llama.rope.scaling.factor': f32(2) })),
      ).rejects.toThrow(
        'rope_freqs.weight: expected no factors beside llama.rope.scaling.type, found 2 factors',
      );
    });
  });

  test('tensors that are no parameters are ignored with a note', async () => {
    const file = await tinyModel('llama');
    const tensor = {
      name: 'blk.0.attn_rot_embd',
      type: TENSOR_TYPES.F32,
      shape: [2],
      bytes: new Uint8Array(8),
    };
    const { notes } = await loadCheckpoint(await writeGguf({ ...file, tensors: [...file.tensors, tensor] }));
    expect(notes).toEqual([
      '1 stored tensor is not a parameter of a llama with this metadata, and ignored: blk.0.attn_rot_embd.',
    ]);
  });

  test('more tokens than rows', async () => {
    const original = await tinyCheckpoint('llama');
    const rows = original.tokenizer.vocabSize - 2;
    const small = await tinyCheckpoint('llama', { vocab_size: rows });
    const model = await loadCheckpoint(await writeGguf(await modelFile(small)));
    expect(model.config.vocabSize).toBe(rows + 2);
    expect(model.weights.get('model.embed_tokens.weight')?.shape).toEqual([rows + 2, 24]);
  });
});
