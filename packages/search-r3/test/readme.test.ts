import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { loadCheckpoint, saveCheckpoint } from 'search-r3/checkpoint';
import { buildProgram } from 'search-r3/cli';
import { makePolicy } from 'search-r3/model';
import { ATLAS_BASE } from 'search-r3/pipeline';
import { ATLAS_PROMPTS } from 'search-r3/pretrain';
import { expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
const readme = await readFile(join(ROOT, 'README.md'), 'utf8');

function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 'gs'))].map(
    (match) => match[1] as string,
  );
}

test('the library example runs as it stands', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'readme-'));
  try {
    const base = await loadCheckpoint(ATLAS_BASE);
    await mkdir(join(folder, 'runs/mine'), { recursive: true });
    await saveCheckpoint(join(folder, 'runs/mine/model'), makePolicy(base, ATLAS_PROMPTS));
    await symlink(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    const [code] = blocks('js');
    await writeFile(join(folder, 'example.mjs'), code as string);
    const { stdout } = await promisify(execFile)(process.execPath, ['example.mjs'], { cwd: folder });
    expect(stdout.trim().endsWith(`${base.config.hiddenSize} false`)).toBe(true);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});

test('every command line names a command and options that exist', () => {
  const commands = new Map(buildProgram().commands.map((command) => [command.name(), command]));
  const lines = blocks('sh').flatMap((block) =>
    block.split('\n').filter((line) => line.startsWith('npx search-r3')),
  );
  expect(lines.length).toBeGreaterThan(3);
  for (const line of lines) {
    const [, , name = '', ...rest] = line.split(' ');
    const known = commands.get(name)?.options.flatMap(({ long, short }) => [long, short]);
    expect(known, line).toBeDefined();
    for (const flag of rest.filter((word) => word.startsWith('-'))) expect(known, line).toContain(flag);
  }
});
