/** Commands take a GGUF file wherever they take a model folder. */
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addEmbedToken, resolvePrompts, saveCheckpoint } from 'search-r3/checkpoint';
import { beforeAll, expect, test } from 'vitest';
import { modelFile, tinyCheckpoint } from '../checkpoint/gguf/models.js';
import { ggufBytes } from '../checkpoint/gguf/writer.js';
import { runInProcess } from './in-process.js';

let cwd: string;
/** The same retriever in a folder, and in a GGUF file beside its prompts. */
beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-gguf-'));
  const checkpoint = await tinyCheckpoint('qwen3', { max_position_embeddings: 256, head_dim: 8 });
  checkpoint.tokenizer = checkpoint.tokenizer.copy();
  checkpoint.prompts = resolvePrompts();
  addEmbedToken(checkpoint);
  await saveCheckpoint(join(cwd, 'folder'), checkpoint);
  await writeFile(join(cwd, 'model.gguf'), ggufBytes(await modelFile(checkpoint)));
  await writeFile(join(cwd, 'search_r3.json'), JSON.stringify(checkpoint.prompts));
});

async function run(...argv: string[]): Promise<string> {
  const { status, stdout, stderr } = await runInProcess(argv, cwd, '');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

test('embed: the vectors of the folder', async () => {
  const texts = ['The quick brown fox', 'naïve café, 2024'];
  const vectors = await run('embed', '--quiet', '--role', 'document', '--model', 'folder', ...texts);
  expect(vectors.trim().split('\n')).toHaveLength(2);
  expect(await run('embed', '--quiet', '--role', 'document', '--model', 'model.gguf', ...texts)).toBe(
    vectors,
  );
  expect(await run('embed', '--quiet', '--role', 'document', '--model', '.', ...texts)).toBe(vectors);
});

test('inspect: the shape of the folder, and how the file stores it', async () => {
  const { config, ...folder } = JSON.parse(await run('inspect', 'folder', '--json')) as Record<
    string,
    object
  >;
  const { config: shape, ...file } = JSON.parse(
    await run('inspect', 'model.gguf', '--json'),
  ) as typeof folder;
  expect({ ...shape, initializerRange: 0 }).toEqual({ ...config, initializerRange: 0 });
  expect(file).toEqual({ ...folder, path: 'model.gguf' });
  expect(file).toMatchObject({ kind: 'model', notes: [], dtypes: { F32: expect.any(Number) } });
  expect(await run('inspect', 'model.gguf')).toContain('stored as                       F32, ');
});
