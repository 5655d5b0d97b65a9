import { join } from 'node:path';
import {
  addEmbedToken,
  checkpointFingerprint,
  loadCheckpoint,
  resolvePrompts,
  saveCheckpoint,
  type WeightTensor,
} from 'search-r3/checkpoint';
import { describe, expect, test } from 'vitest';
import { freshFolder } from './files.js';
import { makeCheckpoint, shrunk } from './tiny.js';

describe('addEmbedToken', () => {
  /** A matrix whose row i holds i, 2i, 3i, ...: row sums are easy. */
  const ramp = (rows: number, width: number): WeightTensor => ({
    shape: [rows, width],
    data: Float32Array.from({ length: rows * width }, (_, i) => Math.floor(i / width) * ((i % width) + 1)),
  });
  const row = ({ data, shape }: WeightTensor, i: number) => {
    const width = shape[1] ?? 0;
    return [...data.subarray(i * width, (i + 1) * width)];
  };
  // The mean of 0 to 17 is 8.5.
  const mean = Array.from({ length: 12 }, (_, column) => 8.5 * (column + 1));

  test('grows embedding and untied head by the mean of their rows', () => {
    const checkpoint = makeCheckpoint(shrunk.llama);
    checkpoint.weights.set('model.embed_tokens.weight', ramp(18, 12));
    const head = checkpoint.weights.get('lm_head.weight') as WeightTensor;
    expect(addEmbedToken(checkpoint)).toBe(18);
    const embedding = checkpoint.weights.get('model.embed_tokens.weight') as WeightTensor;
    expect(embedding.shape).toEqual([19, 12]);
    expect(row(embedding, 18)).toEqual(mean);
    expect(row(embedding, 17)).toEqual(row(ramp(18, 12), 17));
    const grown = checkpoint.weights.get('lm_head.weight') as WeightTensor;
    expect(grown.data.subarray(0, head.data.length)).toEqual(head.data);
    const columnMean = head.data.reduce((sum, x, i) => (i % 12 === 4 ? sum + x : sum), 0) / 18;
    expect(row(grown, 18)[4]).toBeCloseTo(columnMean, 8);
    expect(checkpoint.config.vocabSize).toBe(19);
    expect(checkpoint.config.raw.vocab_size).toBe(19);
  });

  test('takes a spare row first, and leaves it out of the mean', () => {
    const checkpoint = makeCheckpoint({ ...shrunk.qwen2, vocab_size: 24 });
    checkpoint.weights.set('model.embed_tokens.weight', ramp(24, 12));
    expect(addEmbedToken(checkpoint)).toBe(18);
    const embedding = checkpoint.weights.get('model.embed_tokens.weight') as WeightTensor;
    expect(embedding.shape).toEqual([24, 12]);
    expect(row(embedding, 18)).toEqual(mean);
    expect(row(embedding, 19)).toEqual(row(ramp(24, 12), 19));
    expect(checkpoint.config.vocabSize).toBe(24);
    expect(checkpoint.weights.has('lm_head.weight')).toBe(false);
  });

  test('changes nothing where the token is there; survives saving with its row', async () => {
    const folder = join(await freshFolder(), 'model');
    const checkpoint = makeCheckpoint(shrunk.qwen3, { prompts: resolvePrompts({ embedToken: '<|r3|>' }) });
    expect(addEmbedToken(checkpoint)).toBe(18);
    const embedding = checkpoint.weights.get('model.embed_tokens.weight') as WeightTensor;
    embedding.data.fill(0.25, 18 * 12); // trained
    await saveCheckpoint(folder, checkpoint);
    const back = await loadCheckpoint(folder);
    const fingerprint = checkpointFingerprint(back);
    expect(checkpointFingerprint(checkpoint)).toBe(fingerprint);
    expect(addEmbedToken(back)).toBe(18);
    expect(checkpointFingerprint(back)).toBe(fingerprint);
    expect(row(back.weights.get('model.embed_tokens.weight') as WeightTensor, 18)).toEqual(
      new Array(12).fill(0.25),
    );
    expect(await back.tokenizer.encode('city<|r3|>')).toEqual([back.tokenizer.idOf('city'), 18]);
    expect(back.prompts).toEqual(checkpoint.prompts);
  });
});
