import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { expect, test } from 'vitest';

interface Freshness {
  FINGERPRINT: string;
  fingerprint: () => Promise<Record<'declarations' | 'pages', string>>;
}

test('the committed API reference is current (else: npm run reference)', async () => {
  const tool = resolve(import.meta.dirname, '../../../../tools/api-reference/freshness.mjs');
  const { FINGERPRINT, fingerprint } = (await import(tool)) as Freshness;
  expect(await fingerprint()).toEqual(JSON.parse(await readFile(FINGERPRINT, 'utf8')));
});
