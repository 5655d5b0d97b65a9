import { readFileSync } from 'node:fs';
import { int8IsExact } from 'search-r3/decoder';
import { expect, test } from 'vitest';

test('the probe answers once', async () => {
  expect(int8IsExact()).toBe(int8IsExact());
  expect(typeof (await int8IsExact())).toBe('boolean');
});

/** Whether the CPU multiplies bytes and adds in 32 bits, in one instruction: nothing can saturate. */
const vnni = process.platform === 'linux' && / avx512_vnni /.test(readFileSync('/proc/cpuinfo', 'utf8'));

test.skipIf(!vnni)('integer products are exact on a CPU with AVX-512 VNNI', async () => {
  expect(await int8IsExact()).toBe(true);
});
