/** A strict TypeScript project with this package and the types of Node compiles, including all declarations. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../../..', import.meta.url));

test('compiles with the declarations checked', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'consumer-'));
  await mkdir(join(folder, 'node_modules'));
  await symlink(join(ROOT, 'packages/search-r3'), join(folder, 'node_modules/search-r3'));
  await symlink(join(ROOT, 'node_modules/@types'), join(folder, 'node_modules/@types'));
  await writeFile(join(folder, 'package.json'), '{ "type": "module" }');
  const options = { strict: true, module: 'NodeNext', target: 'ES2022', noEmit: true, types: ['node'] };
  const config = { compilerOptions: options, files: ['use.ts'] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify(config));
  const program = [
    "import { loadRetriever, type SearchOptions } from 'search-r3';",
    'const options: SearchOptions = { k: 3 };',
    "export const vectors = await (await loadRetriever('model')).embed(['soup']);",
    'export const lengths: number[] = vectors.map(({ vector }) => vector.length + options.k!);',
  ];
  const compile = async (lines: readonly string[]) => {
    await writeFile(join(folder, 'use.ts'), lines.join('\n'));
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    return promisify(execFile)(process.execPath, [tsc, '-p', folder]).then(
      () => '',
      ({ stdout }: { stdout: string }) => stdout,
    );
  };
  expect(await compile(program)).toBe('');
  expect(await compile([...program, 'export const wrong: string = vectors;'])).toContain('TS2322');
  await rm(folder, { recursive: true });
});
