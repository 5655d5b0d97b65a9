/** The parts of a fingerprint: what each follows, what a difference does, and the table of it in the docs. */
import { readFile, stat, utimes, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  type Checkpoint,
  compareFingerprints,
  FINGERPRINT_PARTS,
  type Fingerprint,
  type FingerprintPart,
  fingerprintParts,
  type Identified,
  type Prompts,
  presetFormat,
  resolvePrompts,
  type StoredFile,
  storedFiles,
  type Weights,
  type WeightTensor,
} from 'search-r3/checkpoint';
import { InputError } from 'search-r3/run';
import { describe, expect, test } from 'vitest';
import { folderOf, originals, reshard } from './folders.js';
import { makeCheckpoint, shrunk } from './tiny.js';

const prompts = resolvePrompts();
const model = (change: (checkpoint: Checkpoint) => void = () => {}, raw: object = shrunk.qwen2) => {
  const checkpoint = makeCheckpoint(raw);
  change(checkpoint);
  return { ...checkpoint, prompts };
};
/** Of a model in memory. */
const partsOf = (of: Identified & Pick<Checkpoint, 'weights'>) => fingerprintParts(of, of);
const differing = (a: Fingerprint, b: Fingerprint) =>
  Object.keys(FINGERPRINT_PARTS).filter((part) => a[part as FingerprintPart] !== b[part as FingerprintPart]);

describe('each part follows', () => {
  test('values are readable, hashes are short', async () => {
    const parts = await partsOf({ ...model(), dimensions: 5 });
    expect(parts).toMatchObject({
      dimensions: '5',
      adapter: 'none',
      pooling: 'embed-token <|embed_token|>',
      precision: 'f32',
    });
    for (const part of ['weights', 'tokenizer', 'documentPrompt', 'queryPrompt'] as const)
      expect(parts[part]).toMatch(/^[0-9a-f]{16}$/);
    expect(Object.keys(parts)).toEqual(Object.keys(FINGERPRINT_PARTS));
    expect((await partsOf(model())).dimensions).toBe('12');
    const other = { adapter: 'c0ffee', precision: 'int8' };
    expect(await fingerprintParts(model(), model(), other)).toMatchObject(other);
  });

  const { query, document, reasoning, embedToken } = prompts;
  const plain: Prompts = { query, document };
  test.each<[string, Parameters<typeof partsOf>[0], FingerprintPart[]]>([
    ['nothing', model(), []],
    ['one bit of one weight', model(({ weights }) => raised(weights.get('model.norm.weight'))), ['weights']],
    ['the configuration', model(() => {}, { ...shrunk.qwen2, rope_theta: 2e6 }), ['weights']],
    ['what nothing computes with', model(() => {}, { ...shrunk.qwen2, transformers_version: '5' }), []],
    ['the tokenizer', model(({ tokenizer }) => tokenizer.addToken('city')), ['tokenizer']],
    ['the prompt of documents', { ...model(), prompts: { ...prompts, document: query } }, ['documentPrompt']],
    ['the prompt of queries', { ...model(), prompts: { ...prompts, query: document } }, ['queryPrompt']],
    [
      'the prompt for reasoning',
      { ...model(), prompts: { ...prompts, reasoning: { system: 'R' } } },
      ['queryPrompt'],
    ],
    [
      'variables of the template',
      { ...model(), prompts: { ...prompts, templateVariables: { a: 1 } } },
      ['documentPrompt', 'queryPrompt'],
    ],
    ['the place of the embedding', { ...model(), prompts: { ...plain, reasoning } }, ['pooling']],
    ['the embed token', { ...model(), prompts: { ...prompts, embedToken: '<emb>' } }, ['pooling']],
    ['its length', { ...model(), dimensions: 7 }, ['dimensions']],
    [
      'the order of fields, which is nothing',
      { ...model(), prompts: { reasoning, document, query, embedToken } },
      [],
    ],
    ['the name of the preset, which is nothing', { ...model(), preset: 'search-r3' }, []],
  ])('%s', async (_, other, expected) => {
    expect(differing(await partsOf(model()), await partsOf(other))).toEqual(expected);
  });

  function raised(tensor: WeightTensor | undefined): void {
    tensor!.data[0] = 1 + 2 ** -23;
  }
});

describe('of stored weights', () => {
  const { config } = originals.qwen2;
  const weightsOf = async (folder: string, weights = originals.qwen2.weights) =>
    (await partsIn(weights, await storedFiles(folder, config))).weights;
  const partsIn = (weights: Weights, files: readonly StoredFile[]) =>
    fingerprintParts({ ...originals.qwen2, prompts }, files.length > 0 ? { files } : { weights });

  test('follows the bytes of the files, not the arrays', async () => {
    const folder = await folderOf('qwen2');
    const first = await weightsOf(folder);
    expect(await weightsOf(folder, new Map())).toBe(first);
    expect(await weightsOf(await folderOf('qwen2'))).toBe(first);
    const path = join(folder, 'model.safetensors');
    const bytes = await readFile(path);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(path, bytes);
    expect(await weightsOf(folder)).not.toBe(first);
  });

  test('a file is read again only if its size or time of change differs', async () => {
    const folder = await folderOf('qwen2');
    const path = join(folder, 'model.safetensors');
    const { atime } = await stat(path);
    const mtime = new Date(1_700_000_000_000);
    await utimes(path, atime, mtime);
    const first = await weightsOf(folder);
    const bytes = await readFile(path);
    bytes[bytes.length - 1]! ^= 1;
    await writeFile(path, bytes);
    await utimes(path, atime, mtime);
    expect(await weightsOf(folder)).toBe(first);
    await utimes(path, atime, new Date(mtime.getTime() + 1000));
    expect(await weightsOf(folder)).not.toBe(first);
  });

  test('all shards count', async () => {
    const folder = await folderOf(
      'qwen2',
      reshard('qwen2', () => {}),
    );
    const files = await storedFiles(folder, config);
    expect(files.length).toBeGreaterThan(2);
    const first = await weightsOf(folder);
    const { path } = files.at(-1)!;
    const bytes = await readFile(path);
    await writeFile(path, Buffer.concat([bytes, Buffer.of(0)]));
    expect(await weightsOf(folder)).not.toBe(first);
    // Whoever loaded the files that were there before has another model.
    await expect(partsIn(new Map(), files)).rejects.toThrow(
      `${path}: expected the file from which the model was loaded, found another. Load the model again.`,
    );
  });
});

describe('an index made with another model', () => {
  const own = Object.fromEntries(
    Object.keys(FINGERPRINT_PARTS).map((part) => [part, `${part} of the model`]),
  ) as Fingerprint;

  // Vectors of the same weights in another precision, or queries asked differently, can still be compared.
  test.each<[FingerprintPart, 'refuse' | 'warn']>([
    ['weights', 'refuse'],
    ['adapter', 'refuse'],
    ['tokenizer', 'refuse'],
    ['pooling', 'refuse'],
    ['dimensions', 'refuse'],
    ['documentPrompt', 'refuse'],
    ['queryPrompt', 'warn'],
    ['precision', 'warn'],
  ])('another %s: %s', (part, differs) => {
    const made = { ...own, [part]: 'another', more: 'which nobody here knows' };
    if (differs === 'warn') {
      expect(compareFingerprints(made, own, 'index')).toEqual([
        expect.stringMatching(`^index: made with another ${part} \\(.*\\): another, now ${own[part]}\\.$`),
      ]);
      return;
    }
    const compare = () => compareFingerprints(made, own, 'index');
    expect(compare).toThrow(InputError);
    expect(compare).toThrow(
      new RegExp(
        `^index: fingerprint\\.${part}: expected ${own[part]}, as in the model .*found another\\. .*index the corpus again`,
      ),
    );
  });

  test('the same one', () => {
    expect(compareFingerprints({ ...own }, own, 'index')).toEqual([]);
    expect(Object.keys(own)).toHaveLength(8);
  });

  test('of a version with one hash for all is to be made again', () => {
    expect(() => compareFingerprints({ checkpoint: 'c0ffee', prompts: 'beef' }, own, 'index')).toThrow(
      /^index: fingerprint\.dimensions: expected .*found nothing, because another version of search-r3 made the index\. Index the corpus again\.$/,
    );
  });
});

test('the table of the docs is that of the code', async () => {
  const page = resolve(import.meta.dirname, '../../../../docs/decisions/015-prompt-presets.md');
  const rows = Object.entries(FINGERPRINT_PARTS).map(
    ([part, { is, differs }]) => `| \`${part}\` | ${is} | ${differs === 'warn' ? 'a warning' : 'refused'} |`,
  );
  expect(await readFile(page, 'utf8')).toContain(rows.join('\n'));
});

test('presets differ in their prompts', async () => {
  const parts = await Promise.all(
    (['search-r3', 'qwen3-embedding', 'topics'] as const).map((name) =>
      fingerprintParts(
        { ...makeCheckpoint(shrunk.qwen2), ...presetFormat(name) },
        makeCheckpoint(shrunk.qwen2),
      ),
    ),
  );
  expect(new Set(parts.map(({ documentPrompt }) => documentPrompt)).size).toBe(3);
});
