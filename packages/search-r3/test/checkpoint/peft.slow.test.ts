/** Adapter folders: what PEFT makes of ours, what we make of its, and what is refused. */
import { spawnSync } from 'node:child_process';
import { cp, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  LINEAR_KINDS,
  loadWeights,
  mergeAdapter,
  readAdapterFolder,
  refuseMisfit,
  saveCheckpoint,
} from 'search-r3/checkpoint';
import { Model } from 'search-r3/model';
import { InputError, randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { tinyPolicy } from '../decoder/tiny-policy.js';
import { ORACLES, pythonWith } from '../support/python.js';

const python = pythonWith('torch', 'peft', 'transformers');
const oracle = (args: readonly string[], input: unknown): string => {
  const program = join(ORACLES, 'peft_adapter.py');
  const { status, stdout, stderr } = spawnSync(python as string, [program, ...args], {
    input: JSON.stringify(input),
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  if (status !== 0) throw new Error(stderr);
  return stdout;
};

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'peft-'));
});
afterAll(() => rm(root, { recursive: true, force: true }));

const IDS = [[5, 3, 8, 1, 6], [2, 9, 4], [7]];

describe.each([
  ['tied', true, false],
  ['untied', false, true],
] as const)('%s', (name, tieWordEmbeddings, rsLora) => {
  const policy = tinyPolicy(`peft ${name}`, { architecture: 'llama', tieWordEmbeddings, hiddenSize: 24 });
  const base = () => join(root, name);
  const sequences = [...IDS, [3, policy.embedId]];
  beforeAll(() => saveCheckpoint(base(), policy));

  test.skipIf(python === undefined)('PEFT computes with our folder what we do', async () => {
    const shape = { rank: 3, alpha: 5, rsLora, dropout: 0.25, targets: LINEAR_KINDS, seed: 2 };
    await using model = await Model.loadTrainable(base(), { precision: 'f32', adapter: shape });
    const random = randomStream(1, 'peft');
    for (const { data } of model.adapter!.weights.values()) {
      for (let i = 0; i < data.length; i++) data[i] = data[i]! + 0.2 * random.normal();
    }
    const folder = join(root, `${name}-ours`);
    await model.save(folder);
    const states = JSON.parse(oracle(['hidden', base(), folder], sequences)) as number[][];
    const vectors = await (await model.encoder()).encode(sequences);
    for (const [i, state] of states.entries()) {
      const length = Math.hypot(...state);
      for (const [j, value] of state.entries()) {
        expect(Math.abs(vectors[i * state.length + j]! - value / length)).toBeLessThan(1e-5);
      }
    }
  });

  test.skipIf(python === undefined)("PEFT's folder, merged by us, is what PEFT merges", async () => {
    const folder = join(root, `${name}-theirs`);
    oracle(['make', base(), folder], { token: policy.embedId, rslora: rsLora });
    const { adapter, base: found } = await readAdapterFolder(folder, base());
    expect(found).toBe(base());
    expect(adapter).toMatchObject({ rank: 3, alpha: 7, rsLora, tokenId: policy.embedId });
    expect(adapter.targets).toEqual(['q_proj', 'v_proj', 'up_proj', 'down_proj']);
    refuseMisfit(adapter, policy.config, folder);
    const merged = mergeAdapter(policy.weights, adapter);
    const expected = await loadWeights(join(folder, 'merged'), policy.config);
    for (const [tensor, { data }] of expected) {
      const own = merged.get(tensor)!.data;
      expect(Math.max(...data.map((value, i) => Math.abs(value - own[i]!))), tensor).toBeLessThan(1e-6);
    }
  });
});

describe('an adapter folder', () => {
  const policy = tinyPolicy('refused', { architecture: 'llama' });
  let folder: string;
  beforeAll(async () => {
    await saveCheckpoint(join(root, 'base'), policy);
    const shape = {
      rank: 2,
      alpha: 4,
      rsLora: false,
      dropout: 0.25,
      targets: ['q_proj', 'up_proj'] as const,
    };
    await using model = await Model.loadTrainable(join(root, 'base'), { precision: 'f32', adapter: shape });
    folder = join(root, 'adapter');
    await model.save(folder);
  });

  test('keeps its dropout', async () => {
    const config = JSON.parse(await readFile(join(folder, 'adapter_config.json'), 'utf8')) as object;
    expect(config).toMatchObject({ lora_dropout: 0.25 });
    expect((await readAdapterFolder(folder)).adapter.dropout).toBe(0.25);
  });

  /** A copy of the folder with other fields in its config. */
  async function withConfig(name: string, fields: Record<string, unknown>): Promise<string> {
    const copy = join(root, name);
    await cp(folder, copy, { recursive: true });
    const path = join(copy, 'adapter_config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    await writeFile(path, JSON.stringify({ ...config, ...fields }));
    return copy;
  }

  test.each<[string, Record<string, unknown>]>([
    ['use_dora', { use_dora: true }],
    ['bias', { bias: 'all' }],
    ['peft_type', { peft_type: 'IA3' }],
    ['rank_pattern', { rank_pattern: { q_proj: 4 } }],
    ['modules_to_save', { modules_to_save: ['lm_head'] }],
    ['target_modules', { target_modules: ['q_proj', 'c_attn'] }],
    ['trainable_token_indices', { trainable_token_indices: [3, 5] }],
    ['base_model_name_or_path', { base_model_name_or_path: 'org/name' }],
  ])('is refused by the name of what it needs: %s', async (field, fields) => {
    const copy = await withConfig(`refused-${field}`, fields);
    const error = await Model.load(copy, { precision: 'f32' }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toContain(field);
  });

  test('is refused where its tensors do not fit the base', async () => {
    const other = tinyPolicy('other', { architecture: 'llama', hiddenSize: 24 });
    await saveCheckpoint(join(root, 'other-base'), other);
    await expect(Model.load(folder, { base: join(root, 'other-base') })).rejects.toThrow(
      /model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight/,
    );
    const rank = await withConfig('other-rank', { r: 3 });
    await expect(Model.load(rank, {})).rejects.toThrow(/expected \[3, 16\], found \[2, 16\]/);
  });

  test('is refused without its weights', async () => {
    const copy = await withConfig('pickled', {});
    await rename(join(copy, 'adapter_model.safetensors'), join(copy, 'adapter_model.bin'));
    await expect(Model.load(copy)).rejects.toThrow(/adapter_model\.bin.*safetensors/s);
  });

  test('finds its base beside it, where the path that it names is relative', async () => {
    const copy = await withConfig('relative', { base_model_name_or_path: '../base' });
    await using model = await Model.load(copy, { precision: 'f32' });
    expect(model.adapter?.targets).toEqual(['q_proj', 'up_proj']);
  });
});
