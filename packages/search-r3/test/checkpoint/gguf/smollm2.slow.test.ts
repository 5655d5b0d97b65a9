/**
 * SmolLM2-135M-Instruct in Q4_1: weights, ids and chat are those of the Python packages gguf, tokenizers and transformers
 * (`tools/oracles/gguf_model.py`). `RECORD=1 npx vitest run smollm2` records their answers anew.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import {
  type Checkpoint,
  loadCheckpoint,
  openModel,
  saveCheckpoint,
  type Weights,
} from 'search-r3/checkpoint';
import { beforeAll, describe, expect, test } from 'vitest';
import { ORACLES, pythonWith } from '../../support/python.js';
import { TEXTS } from './vocabularies.js';

const NAME = 'SmolLM2-135M-Instruct';
const path = resolve(import.meta.dirname, `../../../../../../shared/data/models/${NAME}/${NAME}.Q4_1.gguf`);
const fixture = join(import.meta.dirname, 'fixtures/smollm2.json');

interface Recorded {
  /** SHA-256 of the float32 values of each parameter. */
  tensors: Record<string, string>;
  ids: number[][];
  chat: string;
}

const texts = [
  ...TEXTS,
  '',
  ' ',
  '\n\n',
  '<|im_start|>user\nHi<|im_end|>',
  '3.14159 × 10⁻²³',
  '한국어 文章 עברית',
  '    return x',
];
const messages = [{ role: 'user' as const, content: 'What does "dense retrieval" mean?' }];

const hashes = (weights: Weights) =>
  Object.fromEntries(
    [...weights].map(([name, { data }]) => [
      name,
      createHash('sha256')
        .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        .digest('hex'),
    ]),
  );

describe.skipIf(!existsSync(path))(`${NAME} (skipped where ../shared/data/models is missing)`, () => {
  let expected: Recorded;
  let model: Checkpoint;

  beforeAll(async () => {
    const python = process.env.RECORD === undefined ? undefined : pythonWith('gguf', 'transformers');
    if (python !== undefined) {
      const input = JSON.stringify({ texts, messages });
      const options = { input, encoding: 'utf8', maxBuffer: 2 ** 30 } as const;
      const { status, stdout, stderr } = spawnSync(python, [join(ORACLES, 'gguf_model.py'), path], options);
      if (status !== 0) throw new Error(stderr);
      writeFileSync(fixture, `${JSON.stringify(JSON.parse(stdout), null, 1)}\n`);
    }
    expected = JSON.parse(readFileSync(fixture, 'utf8')) as Recorded;
    model = await loadCheckpoint(path);
  }, 300_000);

  test('every parameter', () => {
    expect(hashes(model.weights)).toEqual(expected.tensors);
    expect(Object.keys(expected.tensors)).toHaveLength(272);
  });

  test('configuration', () => {
    // https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct/blob/main/config.json
    expect(model.config).toMatchObject({
      architecture: 'llama',
      vocabSize: 49_152,
      hiddenSize: 576,
      intermediateSize: 1536,
      layers: 30,
      heads: 9,
      kvHeads: 3,
      headDim: 64,
      rmsNormEps: 1e-5,
      ropeTheta: 100_000,
      ropeScaling: null,
      maxPositions: 8192,
      tieWordEmbeddings: true,
      attentionBias: false,
      bosId: 1,
      eosIds: [2],
      padId: 2,
    });
    expect(model.notes).toBeUndefined();
  });

  test('ids and chat', async () => {
    const ids = await model.tokenizer.encodeBatch(texts);
    for (const [i, text] of texts.entries()) expect([text, ids[i]]).toEqual([text, expected.ids[i]]);
    expect(model.tokenizer.renderChat(messages, { addGenerationPrompt: true })).toBe(expected.chat);
    expect(model.tokenizer.vocabSize).toBe(49_152);
    expect([...model.tokenizer.specialIds]).toEqual(Array.from({ length: 17 }, (_, id) => id));
  });

  test('saved as a Hugging Face folder', async () => {
    const folder = join(await mkdtemp(join(tmpdir(), 'smollm2-')), 'model');
    await saveCheckpoint(folder, model);
    const back = await openModel(folder);
    expect(hashes(await back.readWeights())).toEqual(expected.tensors);
    expect([back.tokenizer.fingerprint(), back.notes]).toEqual([model.tokenizer.fingerprint(), []]);
    await back.close();
  }, 120_000);
});
