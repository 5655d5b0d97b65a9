/**
 * The checkpoints of a run: `checkpoints/step-N/`. Each is written atomically, and its manifest lists files and sizes,
 * so that an incomplete copy is not mistaken for a checkpoint.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { cleanTemporaries, exists, publishFolder, readJson, removeFolder, writeJsonAtomic } from './files.js';

const MANIFEST = 'manifest.json';
const manifestSchema = z.strictObject({
  step: z.int().nonnegative(),
  /** Path inside the checkpoint -> size in bytes. */
  files: z.record(z.string(), z.int().nonnegative()),
});

export interface Checkpoint {
  /** Steps finished when it was taken. */
  step: number;
  path: string;
  /** Total size of its files. */
  bytes: number;
}

/** Folder of the checkpoints inside a run folder. */
export const CHECKPOINTS = 'checkpoints';

const folderOf = (run: string) => join(run, CHECKPOINTS);

/** The complete checkpoints of the run folder `run`, oldest first; none if the folder does not exist. */
export async function listCheckpoints(run: string): Promise<Checkpoint[]> {
  const names = await readdir(folderOf(run)).catch(() => [] as string[]);
  const found = await Promise.all(names.map((name) => readCheckpoint(join(folderOf(run), name), name)));
  return found.filter((entry) => entry !== undefined).sort((a, b) => a.step - b.step);
}

async function readCheckpoint(path: string, name: string): Promise<Checkpoint | undefined> {
  const step = /^step-(\d+)$/.exec(name)?.[1];
  if (step === undefined) return undefined;
  const manifest = manifestSchema.safeParse(await readJson(join(path, MANIFEST)).catch(() => undefined));
  if (!manifest.success || manifest.data.step !== Number(step)) return undefined;
  let bytes = 0;
  for (const [file, size] of Object.entries(manifest.data.files)) {
    const found = await stat(join(path, file)).catch(() => undefined);
    if (found?.size !== size) return undefined;
    bytes += size;
  }
  return { step: Number(step), path, bytes };
}

/** Publishes the checkpoint of `step`, then removes all but the `keep` newest. */
export async function publishCheckpoint(
  run: string,
  step: number,
  keep: number,
  fill: (folder: string) => Promise<void>,
): Promise<Checkpoint> {
  const path = join(folderOf(run), `step-${step}`);
  let bytes = 0;
  await publishFolder(
    path,
    async (temporary) => {
      await fill(temporary);
      const files = await sizes(temporary);
      bytes = Object.values(files).reduce((sum, size) => sum + size, 0);
      await writeJsonAtomic(join(temporary, MANIFEST), { step, files } satisfies z.infer<
        typeof manifestSchema
      >);
    },
    { replace: true },
  );
  const all = await listCheckpoints(run);
  for (const old of all.slice(0, Math.max(0, all.length - keep))) await removeFolder(old.path);
  return { step, path, bytes };
}

/** Removes unfinished checkpoints that a killed process left under temporary names. */
export async function cleanCheckpoints(run: string): Promise<void> {
  const folder = folderOf(run);
  if (await exists(folder)) await cleanTemporaries(folder);
}

async function sizes(folder: string, prefix = ''): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  const entries = await readdir(join(folder, prefix), { withFileTypes: true });
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const name = prefix === '' ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) Object.assign(found, await sizes(folder, name));
    else found[name] = (await stat(join(folder, name))).size;
  }
  return found;
}
