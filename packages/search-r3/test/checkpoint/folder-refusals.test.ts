/** Folders that do not load: loading and `inspect` refuse them in the same words. */
import { cp, mkdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { inspect } from 'search-r3/cli';
import { loadModel } from 'search-r3/pipeline';
import { describe, expect, test } from 'vitest';
import { fileOf, tensor } from './files.js';
import {
  type Change,
  EMBEDDING,
  edit,
  folderOf,
  HEAD,
  INDEX,
  json,
  type Kind,
  rename,
  reshard,
  reweigh,
} from './folders.js';

const POINTER = `version https://git-lfs.github.com/spec/v1\noid sha256:${'ab'.repeat(32)}\nsize 7031660\n`;
const asPointer =
  (name: string): Change =>
  (folder) =>
    writeFile(join(folder, name), POINTER);
const pulled =
  'found a Git LFS pointer to a file of 7,031,660 bytes. Fetch the file itself: run "git lfs install" and "git lfs pull" in its folder.';

describe('is refused by inspect in the same words as by loading', () => {
  test.each<[string, Kind, Change, string | RegExp]>([
    ...([
      'config.json',
      'tokenizer.json',
      'tokenizer_config.json',
      'generation_config.json',
      'search_r3.json',
    ].map((name) => [
      `a Git LFS pointer: ${name}`,
      'qwen2',
      asPointer(name),
      `/${name}: expected the file itself, ${pulled}`,
    ]) as [string, Kind, Change, string][]),
    [
      'a Git LFS pointer: weights',
      'qwen2',
      asPointer('model.safetensors'),
      `/model.safetensors: expected a safetensors file, ${pulled}`,
    ],
    [
      'a Git LFS pointer: index',
      'qwen2',
      async (folder) => {
        await rm(join(folder, 'model.safetensors'));
        await asPointer(INDEX)(folder);
      },
      `/${INDEX}: expected the file itself, ${pulled}`,
    ],
    [
      'a Git LFS pointer: shard',
      'qwen2',
      async (folder) => {
        await reshard('qwen2', () => {})(folder);
        const { weight_map } = (await json(join(folder, INDEX))) as { weight_map: Record<string, string> };
        await asPointer(weight_map['model.norm.weight']!)(folder);
      },
      new RegExp(`of-\\d+\\.safetensors: expected a safetensors file, ${pulled.slice(0, 40)}`),
    ],
    [
      'an HTML page',
      'llama',
      (f) => writeFile(join(f, 'tokenizer.json'), '<!DOCTYPE html>\n<html>'),
      /tokenizer\.json: expected valid JSON, found an HTML page\. A download saved/,
    ],
    [
      'an empty configuration',
      'qwen3',
      (f) => writeFile(join(f, 'config.json'), ''),
      /config\.json: expected valid JSON, found an empty file\. Fetch it again\.$/,
    ],
    [
      'empty weights',
      'qwen3',
      (f) => writeFile(join(f, 'model.safetensors'), ''),
      /model\.safetensors: expected a safetensors file, found an empty file\. Fetch it again\.$/,
    ],
    [
      'a truncated tokenizer',
      'qwen2',
      async (f) => {
        const text = await readFile(join(f, 'tokenizer.json'), 'utf8');
        await writeFile(join(f, 'tokenizer.json'), text.slice(0, -9));
      },
      /tokenizer\.json: expected valid JSON, found .* The file ends too early: fetch it again\.$/,
    ],
    [
      'truncated weights',
      'qwen2',
      async (f) => {
        const path = join(f, 'model.safetensors');
        await writeFile(path, (await readFile(path)).subarray(0, -5));
      },
      /model\.safetensors: size: expected \d+ bytes.* The file is truncated/,
    ],
    [
      'no configuration',
      'qwen2',
      (f) => rm(join(f, 'config.json')),
      /config\.json: expected a readable file, found nothing there/,
    ],
    [
      'no tokenizer',
      'qwen2',
      (f) => rm(join(f, 'tokenizer.json')),
      /tokenizer\.json: expected a readable file, found nothing there/,
    ],
    [
      'a folder inside',
      'qwen2',
      async (f) => {
        await rm(join(f, 'config.json'));
        await mkdir(join(f, 'snapshots/ab12'), { recursive: true });
        await writeFile(join(f, 'snapshots/ab12/config.json'), '{}');
      },
      /config\.json: expected a readable file, found nothing there\. Is it .*snapshots\/ab12\?$/,
    ],
    [
      'a GGUF file cut short',
      'qwen2',
      async (f) => {
        await rm(join(f, 'config.json'));
        await writeFile(join(f, 'model.Q8_0.gguf'), 'GGUF');
      },
      /model\.Q8_0\.gguf: version: expected 4 bytes, found 0 before the end of the file/,
    ],
    [
      'a link to nothing',
      'llama',
      async (f) => {
        await rm(join(f, 'model.safetensors'));
        await symlink('../../blobs/ab12', join(f, 'model.safetensors'));
      },
      /found model\.safetensors, a link to a file that is missing\. Fetch what it links to\.$/,
    ],
    [
      'a vocabulary that only Python reads',
      'llama',
      async (f) => {
        await rm(join(f, 'tokenizer.json'));
        await writeFile(join(f, 'tokenizer.model'), '');
      },
      /tokenizer\.json: expected a readable file, found only tokenizer\.model\. Write it with transformers/,
    ],
    [
      'a default that does not fit',
      'llama',
      edit('config.json', { num_key_value_heads: undefined }),
      /k_proj\.weight: expected .*leaves out num_key_value_heads \d+: these defaults may be wrong/,
    ],
    [
      'a pickle',
      'qwen2',
      async (f) => {
        await rm(join(f, 'model.safetensors'));
        await writeFile(join(f, 'pytorch_model.bin'), 'PK');
      },
      /found pytorch_model\.bin, a pickle, which only Python can read\. Convert it with transformers/,
    ],
    [
      'an adapter',
      'qwen2',
      async (f) => {
        await rm(join(f, 'config.json'));
        await writeFile(join(f, 'adapter_config.json'), '{}');
      },
      /expected a model folder, with config\.json, found a LoRA adapter\. Merge it into its base model/,
    ],
    [
      'another architecture',
      'qwen2',
      edit('config.json', { model_type: 'gemma' }),
      /config\.json: model_type: expected one of the architectures llama, qwen2, qwen3, found "gemma"/,
    ],
    [
      'no architecture',
      'qwen2',
      edit('config.json', { model_type: undefined, architectures: ['X'] }),
      /config\.json: model_type: expected one of the architectures llama, qwen2, qwen3, found nothing/,
    ],
    [
      'quantised weights',
      'qwen2',
      edit('config.json', { quantization_config: { quant_method: 'awq', bits: 4 } }),
      /quantization_config: expected weights that are not quantised, found awq, 4 bits\. Use the model before/,
    ],
    [
      'quantised weights that config.json does not tell of',
      'qwen2',
      async (folder) => {
        await reshard('qwen2', (w) => w.delete('model.norm.weight'))(folder);
        const entry = { dtype: 'I8', shape: [12], data_offsets: [0, 12] };
        await cp(
          await fileOf({ 'model.norm.weight': entry }, new Uint8Array(12)),
          join(folder, 'z.safetensors'),
        );
        const index = (await json(join(folder, INDEX))) as { weight_map: Record<string, string> };
        index.weight_map['model.norm.weight'] = 'z.safetensors';
        await writeFile(join(folder, INDEX), JSON.stringify(index));
      },
      /z\.safetensors: model\.norm\.weight\.dtype: expected F64, F32, F16 or BF16, found I8\. Quantised weights are not read/,
    ],
    [
      'an untied model without a head',
      'llama',
      reweigh('llama', (w) => (w.delete(HEAD) ? w : w)),
      /tensors: expected the 35 of a llama of 2 layers, found lm_head\.weight missing\. If the head is the embedding, config\.json must say tie_word_embeddings: true\.$/,
    ],
    [
      'neither embedding nor head',
      'qwen2',
      reweigh('qwen2', (w) => (w.delete(EMBEDDING) ? w : w)),
      /found model\.embed_tokens\.weight missing\.$/,
    ],
    [
      'a tied head of another shape',
      'qwen2',
      reweigh('qwen2', (w) => w.set(HEAD, tensor([17, 12], new Array(204).fill(0)))),
      /lm_head\.weight: expected \[18, 12\], from config\.json, found \[17, 12\]\.$/,
    ],
    [
      'sizes that the configuration leaves out wrongly',
      'qwen2',
      edit('config.json', { intermediate_size: undefined }),
      /gate_proj\.weight: expected \[22016, 12\], from config\.json, found \[20, 12\]\. config\.json leaves out intermediate_size 22016: these defaults may be wrong for this model\.$/,
    ],
    [
      'names with a prefix that transformers does not strip',
      'qwen2',
      reweigh('qwen2', (w) => rename(w, (name) => `base_model.model.${name}`)),
      /found model\.embed_tokens\.weight, .*missing; base_model\.model\.model\.embed_tokens\.weight, .* unexpected\. base_model\.model\.model\.embed_tokens\.weight seems to be model\.embed_tokens\.weight under another prefix/,
    ],
    [
      'weights that are not finite',
      'llama',
      reweigh('llama', (w) => w.set('model.norm.weight', tensor([12], new Array(12).fill(Number.NaN)))),
      /llama: model\.norm\.weight: expected finite weights, found NaN at element 0\.$/,
    ],
    [
      'prompts without their token',
      'qwen2',
      (f) => writeFile(join(f, 'search_r3.json'), '{"version":1}'),
      /tokenizer\.json: expected the special token <\|embed_token\|>/,
    ],
  ])('%s', async (_, kind, change, message) => {
    const folder = await folderOf(kind, change);
    const errorOf = (work: Promise<unknown>) =>
      work.then(
        () => undefined,
        (error: unknown) => error as Error,
      );
    const [loading, inspecting] = [await errorOf(loadModel(folder)), await errorOf(inspect(folder))];
    expect(loading?.name).toBe('InputError');
    if (typeof message === 'string') expect(loading?.message).toContain(message);
    else expect(loading?.message).toMatch(message);
    expect(inspecting).toEqual(loading);
  });
});
