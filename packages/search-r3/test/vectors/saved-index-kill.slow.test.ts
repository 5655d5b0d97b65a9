/** An index whose process is killed at random moments of its changes, and of rewriting its rows, over and over. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { randomStream } from 'search-r3/run';
import { type IndexedDocument, readManifest, SavedIndex } from 'search-r3/vectors';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { scaled } from '../support/scale.js';
import { changeOf, DIMENSION } from './fixtures/changes.mjs';

let folder: string;
beforeEach(async () => {
  folder = join(await mkdtemp(join(tmpdir(), 'killed-')), 'index');
});
afterEach(() => rm(join(folder, '..'), { recursive: true }));

/** The documents by id after the changes below a number. */
function expected(changes: number): Map<string, IndexedDocument> {
  const documents = new Map<string, IndexedDocument>();
  for (let number = 0; number < changes; number++) {
    const { documents: upserted, deleted } = changeOf(number);
    for (const document of upserted) documents.set(document.id, document);
    for (const id of deleted) documents.delete(id);
  }
  return documents;
}

test('killed at any instant, nothing reported is lost and nothing is half done', async () => {
  await (await SavedIndex.create(folder, { dimension: DIMENSION, fingerprint: { made: 'here' } })).close();
  const random = randomStream(3);
  const program = join(import.meta.dirname, 'fixtures/changing.mjs');
  let next = 0;
  for (let kill = 0; kill < scaled(8, 100); kill++) {
    const child = spawn(process.execPath, [program, folder, String(next)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (bytes: Buffer) => {
      output += bytes.toString();
    });
    // From the first change on, so that the moment falls into the changes.
    await once(child.stdout, 'data');
    await setTimeout(random.integer(250));
    child.kill('SIGKILL');
    await once(child, 'close');
    const reported = output.trimEnd().split('\n').length;
    const index = await SavedIndex.open(folder);
    const stored = new Map<string, IndexedDocument>();
    for await (const { documents } of index.scan()) {
      for (const document of documents) stored.set(document.id, document);
    }
    await index.close();
    // A change may be on disk before it is reported.
    const candidates = [next + reported, next + reported + 1];
    const made = candidates.find((changes) => {
      const wanted = expected(changes);
      return (
        wanted.size === stored.size && [...wanted].every(([id, { text }]) => stored.get(id)?.text === text)
      );
    });
    expect(made, `after ${reported} reported changes from ${next}`).toBeDefined();
    next = made as number;
  }
  // The rows were written anew meanwhile.
  expect((await readManifest(folder)).data).not.toBe('data-1');
});
