/** Blocks of every type have the values that the Python package `gguf` gives them (`tools/oracles/gguf_blocks.py`). */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { type GgufTensors, openGguf } from 'search-r3/checkpoint';
import { randomStream } from 'search-r3/run';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NO_PYTHON, ORACLES, pythonWith } from '../../support/python.js';
import { scaled } from '../../support/scale.js';
import { tinyModel } from './models.js';
import { TENSOR_TYPES, type TensorToWrite, writeGguf } from './writer.js';

/** Elements and bytes of a block (`GGML_QUANT_SIZES` of gguf). */
const BLOCKS = {
  F32: [1, 4],
  F16: [1, 2],
  BF16: [1, 2],
  Q8_0: [32, 34],
  Q4_0: [32, 18],
  Q4_1: [32, 20],
  Q5_0: [32, 22],
  Q5_1: [32, 24],
  Q4_K: [256, 144],
  Q5_K: [256, 176],
  Q6_K: [256, 210],
} as const;

type Type = keyof typeof BLOCKS;

const TYPES = Object.keys(BLOCKS) as Type[];

/** Random bytes are valid blocks; their scales may be anything, infinities and NaN included. */
function randomBlocks(type: Type, elements: number, seed: number): Buffer {
  const [perBlock, bytes] = BLOCKS[type];
  const random = randomStream(seed, type);
  return Buffer.from(Array.from({ length: (elements / perBlock) * bytes }, () => random.integer(256)));
}

/** A tensor that is no parameter keeps its name. */
const asTensor = (type: Type, name: string, shape: readonly number[], bytes: Uint8Array): TensorToWrite => ({
  name,
  type: TENSOR_TYPES[type],
  shape,
  bytes,
});

async function open(tensors: readonly TensorToWrite[]): Promise<GgufTensors> {
  const file = await tinyModel('llama');
  return (await openGguf(await writeGguf({ ...file, tensors }))).stored;
}

const floats = (base64: string): Float32Array => {
  const bytes = Buffer.from(base64, 'base64');
  return new Float32Array(Uint8Array.from(bytes).buffer);
};

function oracle(python: string, blocks: readonly (readonly [Type, Buffer])[]): string[] {
  const input = blocks.map(([type, bytes]) => `${type} ${bytes.toString('base64')}`).join('\n');
  const options = { input, encoding: 'utf8', maxBuffer: 2 ** 30 } as const;
  const { status, stdout, stderr } = spawnSync(python, [join(ORACLES, 'gguf_blocks.py')], options);
  if (status !== 0) throw new Error(stderr);
  return stdout.trim().split('\n');
}

const python = pythonWith('gguf');
const fixture = join(import.meta.dirname, 'fixtures/blocks.json');

test('recorded: three blocks of every type', async () => {
  if (process.env.RECORD !== undefined && python !== undefined) {
    const blocks = TYPES.map((type) => [type, randomBlocks(type, 768, 7)] as const);
    const values = oracle(python, blocks);
    const recorded = blocks.map(([type, bytes], i) => [
      type,
      { blocks: bytes.toString('base64'), values: values[i] },
    ]);
    writeFileSync(fixture, `${JSON.stringify(Object.fromEntries(recorded), null, 1)}\n`);
  }
  const recorded = JSON.parse(readFileSync(fixture, 'utf8')) as Record<
    Type,
    { blocks: string; values: string }
  >;
  expect(Object.keys(recorded)).toEqual(TYPES);
  const tensors = TYPES.map((type) =>
    asTensor(type, type, [3, 256], Buffer.from(recorded[type].blocks, 'base64')),
  );
  const stored = await open(tensors);
  for (const type of TYPES) {
    expect([type, (await stored.read(type)).data]).toEqual([type, floats(recorded[type].values)]);
  }
  await stored.close();
});

test.skipIf(python === undefined)(`live: many random blocks (${NO_PYTHON})`, async () => {
  const rows = scaled(40, 4_000);
  const blocks = TYPES.map((type) => [type, randomBlocks(type, 256 * rows, 11)] as const);
  const stored = await open(blocks.map(([type, bytes]) => asTensor(type, type, [rows, 256], bytes)));
  const expected = oracle(python!, blocks);
  for (const [i, type] of TYPES.entries()) {
    const { data } = await stored.read(type);
    expect([type, firstDifference(data, floats(expected[i]!))]).toEqual([type, undefined]);
  }
  await stored.close();
});

function firstDifference(found: Float32Array, expected: Float32Array): number | undefined {
  const at = found.findIndex((value, i) => !Object.is(value, expected[i]));
  return at === -1 && found.length === expected.length ? undefined : at;
}

describe('parts of a tensor', () => {
  const shape = [24, 256];
  let stored: GgufTensors;
  beforeAll(async () => {
    // 6 heads of 4 rows: the rows of q are interleaved.
    const tensors = (['Q4_1', 'Q6_K', 'F16'] as const).flatMap((type) => {
      const bytes = randomBlocks(type, 24 * 256, 3);
      return [
        asTensor(type, type, shape, bytes),
        asTensor(type, `blk.${TYPES.indexOf(type)}.attn_q.weight`, shape, bytes),
      ];
    });
    stored = await open(tensors);
  });
  afterAll(() => stored.close());

  const q = (type: Type) => `model.layers.${TYPES.indexOf(type)}.self_attn.q_proj.weight`;

  test('rows of q come in the order of Hugging Face', async () => {
    // gguf_to_hf: reshape(heads, 2, 2, width).swapaxes(1, 2), so a head's rows are 0, 2, 1, 3 of the file.
    for (const type of ['Q4_1', 'Q6_K', 'F16'] as const) {
      const plain = (await stored.read(type)).data;
      const { data } = await stored.read(q(type));
      const { rowInFile } = stored.blocks(q(type));
      for (let row = 0; row < 24; row++) {
        const from = row - (row % 4) + [0, 2, 1, 3][row % 4]!;
        expect(rowInFile(row)).toBe(from);
        expect(data.subarray(row * 256, row * 256 + 256)).toEqual(
          plain.subarray(from * 256, from * 256 + 256),
        );
      }
    }
  });

  test('any range equals that part of the whole', async () => {
    const names = (['Q4_1', 'Q6_K', 'F16'] as const).flatMap((type) => [type, q(type)]);
    const wholes = new Map<string, Float32Array>();
    for (const name of names) wholes.set(name, (await stored.read(name)).data);
    const range = fc.tuple(fc.constantFrom(...names), fc.nat(24 * 256), fc.nat(24 * 256));
    const property = fc.asyncProperty(range, async ([name, a, b]) => {
      const [start, end] = [Math.min(a, b), Math.max(a, b)];
      const part = new Float32Array(end - start);
      await stored.readInto(name, start, part);
      expect(part).toEqual(wholes.get(name)!.subarray(start, end));
    });
    await fc.assert(property, { numRuns: scaled(150, 5_000) });
  });

  test('the blocks themselves can be found', async () => {
    const { type, offset, bytes, shape: found, path, rowInFile } = stored.blocks('Q6_K');
    expect([type, bytes, found, offset % 32]).toEqual([
      { name: 'Q6_K', elements: 256, bytes: 210 },
      24 * 210,
      shape,
      0,
    ]);
    expect(readFileSync(path).subarray(offset, offset + bytes)).toEqual(randomBlocks('Q6_K', 24 * 256, 3));
    expect(rowInFile(5)).toBe(5);
  });
});

test('a tensor larger than the reading buffer', async () => {
  const bytes = randomBlocks('Q8_0', 32 * 4, 5);
  const repeat = 150_001;
  const stored = await open([
    asTensor('Q8_0', 'x', [repeat, 128], Buffer.concat(Array.from({ length: repeat }, () => bytes))),
    asTensor('Q8_0', 'once', [1, 128], bytes),
  ]);
  const once = (await stored.read('once')).data;
  const { data } = await stored.read('x');
  expect(data).toHaveLength(repeat * 128);
  const at = data.findIndex((value, i) => !Object.is(value, once[i % 128]));
  expect(at).toBe(-1);
  await stored.close();
});
