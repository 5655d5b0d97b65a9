import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InputError, readStateFile, writeStateFile } from 'search-r3/run';
import { afterAll, beforeAll, expect, test } from 'vitest';

let folder: string;
let path: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'state-'));
  path = join(folder, 'state.bin');
});
afterAll(() => rm(folder, { recursive: true }));

const state = {
  metadata: { step: 12, cursor: { epoch: 2, order: [3, 1, 2] }, note: 'naïve' },
  arrays: {
    'adam/m': new Float32Array([1.5, -0, Number.NaN, Number.NEGATIVE_INFINITY, 1e-45]),
    'adam/v': new Float64Array([Math.PI]),
    versions: new Int32Array([-1, 2_147_483_647, 7]),
    ids: new BigInt64Array([-(2n ** 63n), 5n]),
    big: new BigUint64Array([2n ** 64n - 1n]),
    words: new Uint32Array([4_294_967_295]),
    short: new Int16Array([-32_768]),
    half: new Uint16Array([0x3c00, 1, 2]),
    signed: new Int8Array([-128, 127, 3]),
    bytes: new Uint8Array([0, 255, 1, 2, 3, 4, 5, 6, 7]),
    none: new Float32Array(0),
    view: new Float32Array([9, 8, 7, 6]).subarray(1, 3),
  },
};

test('arrays of every type, views included, and the metadata survive a round trip', async () => {
  await writeStateFile(path, state);
  const read = await readStateFile(path);
  expect(read).toEqual(state);
  expect(Object.is(read.arrays['adam/m']?.[1], -0)).toBe(true);
  expect(await readdir(folder)).toEqual(['state.bin']);
});

test('the layout is the documented one', async () => {
  await writeStateFile(path, {
    metadata: null,
    arrays: { a: new Float32Array([1]), b: new Uint8Array([7]) },
  });
  const bytes = await readFile(path);
  expect(bytes.toString('latin1', 0, 8)).toBe('SR3STATE');
  const header = Number(bytes.readBigUInt64LE(8));
  expect(header % 8).toBe(0);
  expect(JSON.parse(bytes.toString('utf8', 16, 16 + header))).toEqual({
    metadata: null,
    arrays: [
      { name: 'a', dtype: 'f32', length: 1 },
      { name: 'b', dtype: 'u8', length: 1 },
    ],
  });
  expect(bytes.length).toBe(16 + header + 8 + 8);
  expect(bytes.readFloatLE(16 + header)).toBe(1);
  expect(bytes[16 + header + 8]).toBe(7);
});

test('a file that is cut anywhere, extended or of another kind is refused', async () => {
  const small = { metadata: { step: 3 }, arrays: { w: new Float32Array([1, 2, 3]), i: new Int8Array([5]) } };
  await writeStateFile(path, small);
  const bytes = await readFile(path);
  const damaged = join(folder, 'damaged.bin');
  const refused = async (data: Uint8Array) => {
    await writeFile(damaged, data);
    const error = await readStateFile(damaged).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(InputError);
    expect((error as InputError).message).toContain('damaged.bin');
  };
  for (let at = 0; at < bytes.length; at++) await refused(bytes.subarray(0, at));
  await refused(Buffer.concat([bytes, Buffer.from([0])]));
  await refused(Buffer.concat([Buffer.from('X'), bytes.subarray(1)]));
  await rm(damaged);
});

test('a header that claims more than the file holds is refused before anything is allocated', async () => {
  const header = Buffer.from(
    JSON.stringify({ metadata: null, arrays: [{ name: 'w', dtype: 'f64', length: 1e12 }] }).padEnd(80),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  await writeFile(path, Buffer.concat([Buffer.from('SR3STATE'), length, header]));
  await expect(readStateFile(path)).rejects.toThrow(/size: expected 8000000000096 bytes.*found 96/);
});

test('a missing file is named', async () => {
  await expect(readStateFile(join(folder, 'none'))).rejects.toThrow(
    /none: expected a readable file, found nothing there/,
  );
});
