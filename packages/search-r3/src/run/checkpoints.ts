/**
 * The checkpoints of a run: `checkpoints/step-N/`. Each is written atomically, and its manifest lists files with lengths
 * and checksums: an incomplete copy is not mistaken for a checkpoint, and no run continues from a damaged one.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { checkFiles, checkLengths, type FileList, fileListSchema, listFiles } from './checked-files.js';
import { InputError } from './errors.js';
import { cleanTemporaries, exists, publishFolder, readJson, removeFolder, writeJsonAtomic } from './files.js';

const MANIFEST = 'manifest.json';
const manifestSchema = z.strictObject({ step: z.int().nonnegative(), files: fileListSchema });
/** Until checksums were in it. */
const earlierSchema = z.strictObject({ step: z.int(), files: z.record(z.string(), z.int()) });

export interface Checkpoint {
  /** Steps finished when it was taken. */
  step: number;
  path: string;
  /** Total size of its files. */
  bytes: number;
  files: FileList;
}

/** Folder of the checkpoints inside a run folder. */
export const CHECKPOINTS = 'checkpoints';

const folderOf = (run: string) => join(run, CHECKPOINTS);

/**
 * The complete checkpoints of the run folder `run`, oldest first; none if the folder does not exist.
 * @throws InputError for a checkpoint of an earlier version.
 */
export async function listCheckpoints(run: string): Promise<Checkpoint[]> {
  const names = await readdir(folderOf(run)).catch(() => [] as string[]);
  const found = await Promise.all(names.map((name) => readCheckpoint(join(folderOf(run), name), name)));
  return found.filter((entry) => entry !== undefined).sort((a, b) => a.step - b.step);
}

async function readCheckpoint(path: string, name: string): Promise<Checkpoint | undefined> {
  const step = /^step-(\d+)$/.exec(name)?.[1];
  if (step === undefined) return undefined;
  const manifest = await readJson(join(path, MANIFEST)).catch(() => undefined);
  const { data } = manifestSchema.safeParse(manifest);
  if (data === undefined && earlierSchema.safeParse(manifest).success) {
    throw new InputError({
      source: join(path, MANIFEST),
      expected: 'checksums of its files',
      found: 'a checkpoint of an earlier version',
      remedy: 'Start the run again, or finish it with the version that began it.',
    });
  }
  if (data?.step !== Number(step)) return undefined;
  try {
    await checkLengths(path, data.files);
  } catch {
    return undefined;
  }
  return checkpointOf(path, data.step, data.files);
}

function checkpointOf(path: string, step: number, files: FileList): Checkpoint {
  const bytes = Object.values(files).reduce((sum, file) => sum + file.bytes, 0);
  return { step, path, bytes, files };
}

/** Checks every byte of a checkpoint. @throws InputError naming the file that is damaged. */
export async function checkCheckpoint({ path, files }: Checkpoint): Promise<void> {
  try {
    await checkFiles(path, files);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const remedy = `Remove ${path} to continue from the checkpoint before it.`;
    throw new InputError({ ...error.problem, remedy });
  }
}

/** Publishes the checkpoint of `step`, then removes all but the `keep` newest. */
export async function publishCheckpoint(
  run: string,
  step: number,
  keep: number,
  fill: (folder: string) => Promise<void>,
): Promise<Checkpoint> {
  const path = join(folderOf(run), `step-${step}`);
  let files: FileList = {};
  await publishFolder(
    path,
    async (temporary) => {
      await fill(temporary);
      files = await listFiles(temporary);
      const manifest = { step, files } satisfies z.infer<typeof manifestSchema>;
      await writeJsonAtomic(join(temporary, MANIFEST), manifest);
    },
    { replace: true },
  );
  const all = await listCheckpoints(run);
  for (const old of all.slice(0, Math.max(0, all.length - keep))) await removeFolder(old.path);
  return checkpointOf(path, step, files);
}

/** Removes unfinished checkpoints that a killed process left under temporary names. */
export async function cleanCheckpoints(run: string): Promise<void> {
  const folder = folderOf(run);
  if (await exists(folder)) await cleanTemporaries(folder);
}
