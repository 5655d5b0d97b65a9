/**
 * The folder of one run: `config.yaml` (resolved), `events.jsonl`, `completions.jsonl`, `checkpoints/step-N/` and
 * `report.html`. A run that is killed at any moment and reopened with `resume` continues exactly from its newest
 * checkpoint.
 */
import { mkdir, readdir, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { parse, stringify } from 'yaml';
import {
  CHECKPOINTS,
  type Checkpoint,
  checkCheckpoint,
  cleanCheckpoints,
  listCheckpoints,
  publishCheckpoint,
} from './checkpoints.js';
import { InputError } from './errors.js';
import { type CompletionRecord, completionSchema, type RunEvent, runEventSchema } from './events.js';
import { cleanTemporaries, describeReadFailure, readText, writeFileAtomic } from './files.js';
import { acquireLock, type Lock } from './lock.js';
import { RecordLog } from './record-log.js';
import { isTemporaryName } from './temporary.js';

/** Name of the file with a run's settings. */
export const RUN_CONFIG = 'config.yaml';
const EVENTS = 'events.jsonl';
const COMPLETIONS = 'completions.jsonl';
const LOCK = '.lock';
/** First line of every `config.yaml` we write; only folders with such a config are resumed or overwritten. */
const HEADER = '# Every setting this run was made with, defaults included.';

/** Whether a text is the config of a run, which has fingerprints besides the settings. */
export const isRunConfig = (text: string): boolean => text.startsWith(HEADER);

export interface RunFolderOptions {
  /** Continue the existing run from its newest checkpoint, with the same config. Default false. */
  resume?: boolean;
  /** Remove the existing run and everything in its folder. Default false. */
  overwrite?: boolean;
  /** Dotted config keys that may differ on resuming, for example `steps` to train longer. Default none. */
  mayChange?: readonly string[];
  /** How many of the newest checkpoints to keep. Default 2. */
  keepCheckpoints?: number;
}

/** A run open for writing, by one thread of one process at a time. */
export class RunFolder {
  readonly path: string;
  /** The checkpoint to continue from; undefined if the run starts from the beginning. */
  readonly resumed: Checkpoint | undefined;
  /** All records of a step are written before its checkpoint. */
  readonly events: RecordLog<RunEvent>;
  readonly completions: RecordLog<CompletionRecord>;
  readonly #lock: Lock;
  readonly #keep: number;
  readonly #made: Made;

  private constructor(
    path: string,
    resumed: Checkpoint | undefined,
    logs: { events: RecordLog<RunEvent>; completions: RecordLog<CompletionRecord> },
    lock: Lock,
    { keep, made }: { keep: number; made: Made },
  ) {
    this.path = path;
    this.resumed = resumed;
    this.events = logs.events;
    this.completions = logs.completions;
    this.#lock = lock;
    this.#keep = keep;
    this.#made = made;
  }

  /**
   * Opens the run folder `path` for a run with this resolved `config` (plain JSON values).
   * @throws InputError if the folder is not empty and neither `resume` nor `overwrite` is given, if there is nothing to
   * resume or the config differs, if the checkpoint to continue from is damaged, if it is not a run folder, or while
   * another process or thread uses it.
   */
  static async create(path: string, config: unknown, options: RunFolderOptions = {}): Promise<RunFolder> {
    const { resume = false, overwrite = false, keepCheckpoints = 2 } = options;
    if (resume && overwrite) {
      throw new InputError({ source: path, expected: 'one of resume and overwrite', found: 'both' });
    }
    if (!Number.isInteger(keepCheckpoints) || keepCheckpoints < 1) {
      const field = 'keepCheckpoints';
      throw new InputError({ source: path, field, expected: 'at least 1', found: String(keepCheckpoints) });
    }
    const folder = resolve(path);
    const before = await contents(folder);
    if (resume && before === undefined) {
      throw new InputError({ source: path, expected: 'a run to resume', found: 'nothing there' });
    }
    if (!resume && !overwrite) refuseOccupied(path, before ?? []);
    if (overwrite || resume) await refuseForeign(folder, before ?? []);
    const made = { run: !resume, topmost: await mkdir(folder, { recursive: true }) };
    const lock = await acquireLock(join(folder, LOCK));
    try {
      await cleanTemporaries(folder);
      if (overwrite) await clear(folder);
      const there = (await contents(folder)) ?? [];
      if (!resume) refuseOccupied(path, there); // Again: another process may have come and gone before the lock.
      if (there.includes(RUN_CONFIG)) await checkConfig(folder, config, options.mayChange ?? []);
      await cleanCheckpoints(folder);
      const resumed = (await listCheckpoints(folder)).at(-1);
      if (resumed !== undefined) await checkCheckpoint(resumed);
      const afterStep = resumed?.step ?? -1;
      await writeFileAtomic(join(folder, RUN_CONFIG), formatConfig(config));
      const events = await RecordLog.open(join(folder, EVENTS), runEventSchema, afterStep);
      const completions = await RecordLog.open(join(folder, COMPLETIONS), completionSchema, afterStep);
      return new RunFolder(folder, resumed, { events, completions }, lock, { keep: keepCheckpoints, made });
    } catch (error) {
      await lock.release();
      throw error;
    }
  }

  /** Flushes the logs, publishes `checkpoints/step-<step>` with what `fill` writes, and removes old checkpoints. */
  async saveCheckpoint(step: number, fill: (folder: string) => Promise<void>): Promise<Checkpoint> {
    await this.events.seal(step);
    await this.completions.seal(step);
    return publishCheckpoint(this.path, step, this.#keep, fill);
  }

  /** Writes another file of the run atomically, for example `report.html`. */
  async writeFile(name: string, data: string | Uint8Array): Promise<void> {
    await writeFileAtomic(join(this.path, name), data);
  }

  /**
   * Closes a run that failed or was stopped. Removes it if it is new and has nothing to resume from: no step, no
   * checkpoint, no folder of a stage.
   */
  async abandon(): Promise<void> {
    let useless = false;
    try {
      await this.events.close();
      await this.completions.close();
      useless = this.#made.run && (await isUnstarted(this.path));
      if (useless) await clear(this.path);
    } finally {
      await this.#lock.release();
    }
    if (useless && this.#made.topmost !== undefined) await removeEmpty(this.path, this.#made.topmost);
  }

  /** Flushes the logs and unlocks the folder. */
  async close(): Promise<void> {
    try {
      await this.events.close();
      await this.completions.close();
    } finally {
      await this.#lock.release();
    }
  }
}

/** What `RunFolder.create` created. */
interface Made {
  /** Whether the run is new, not resumed. */
  run: boolean;
  /** The topmost of the folders created on the path to the run. */
  topmost: string | undefined;
}

/** A run folder opened for reading: nothing is locked or repaired. */
export interface RunContents {
  path: string;
  config: unknown;
  eventsPath: string;
  completionsPath: string;
  /** Oldest first. */
  checkpoints: Checkpoint[];
}

/** Whether the folder at `path` looks like a run. */
export async function isRunFolder(path: string): Promise<boolean> {
  const names = await contents(path);
  return names?.includes(RUN_CONFIG) === true && names.includes(EVENTS);
}

/** Reads a run folder. @throws InputError if it is not one. */
export async function readRunFolder(path: string): Promise<RunContents> {
  return {
    path,
    config: await readConfig(path),
    eventsPath: join(path, EVENTS),
    completionsPath: join(path, COMPLETIONS),
    checkpoints: await listCheckpoints(path),
  };
}

/** Names in the folder, except the lock and unfinished files; undefined if there is no folder. */
async function contents(folder: string): Promise<string[] | undefined> {
  try {
    return (await readdir(folder)).filter((name) => !name.startsWith(LOCK) && !isTemporaryName(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new InputError({ source: folder, expected: 'a folder', found: describeReadFailure(error) });
  }
}

function refuseOccupied(path: string, names: string[]): void {
  if (names.length === 0) return;
  throw new InputError({
    source: path,
    expected: 'a new or empty folder',
    found: `${names.slice(0, 3).join(', ')}${names.length > 3 ? ', ...' : ''}`,
    remedy: names.includes(RUN_CONFIG)
      ? 'Resume that run (--resume), overwrite it (--overwrite), or choose another name.'
      : 'Choose another name.',
  });
}

/** A non-empty folder that is not a run is never resumed and never removed. */
async function refuseForeign(folder: string, names: string[]): Promise<void> {
  if (names.length === 0) return;
  const tell = { source: folder, field: RUN_CONFIG, expected: 'the config of a run' };
  if (!names.includes(RUN_CONFIG)) throw new InputError({ ...tell, found: 'no such file' });
  if (!isRunConfig(await readText(join(folder, RUN_CONFIG)))) {
    throw new InputError({ ...tell, found: 'a file of another kind' });
  }
}

/** Removes everything in a run folder; its config goes last, so that an interrupted removal can be repeated. */
async function clear(folder: string): Promise<void> {
  const names = (await contents(folder)) ?? [];
  const rest = names.filter((name) => name !== RUN_CONFIG);
  for (const name of rest) await rm(join(folder, name), { recursive: true });
  await rm(join(folder, RUN_CONFIG), { force: true });
}

async function isUnstarted(folder: string): Promise<boolean> {
  for (const log of [EVENTS, COMPLETIONS]) {
    if ((await stat(join(folder, log))).size > 0) return false;
  }
  const entries = await readdir(folder, { withFileTypes: true });
  const stages = entries.filter(
    (entry) => entry.isDirectory() && entry.name !== CHECKPOINTS && !isTemporaryName(entry.name),
  );
  return stages.length === 0 && (await listCheckpoints(folder)).length === 0;
}

/** Removes `folder` and its parents up to `topmost` as long as they are empty. */
async function removeEmpty(folder: string, topmost: string): Promise<void> {
  try {
    for (let at = folder; ; at = dirname(at)) {
      await rmdir(at);
      if (at === topmost) return;
    }
  } catch {
    // Not empty: somebody put something there.
  }
}

function formatConfig(config: unknown): string {
  return `${HEADER}\n${stringify(config)}`;
}

async function readConfig(folder: string): Promise<unknown> {
  const path = join(folder, RUN_CONFIG);
  const text = await readText(path);
  try {
    return parse(text);
  } catch (error) {
    throw new InputError({ source: path, expected: 'valid YAML', found: (error as Error).message });
  }
}

async function checkConfig(folder: string, config: unknown, mayChange: readonly string[]): Promise<void> {
  const stored = flatten(await readConfig(folder));
  // As it would be read back from the file: without undefined values, -0 and the like.
  const given = flatten(parse(formatConfig(config)));
  const keys = [...new Set([...stored.keys(), ...given.keys()])];
  const differs = keys.find(
    (key) => !isDeepStrictEqual(stored.get(key), given.get(key)) && !covers(mayChange, key),
  );
  if (differs === undefined) return;
  const tell = (value: unknown) => (value === undefined ? 'nothing' : JSON.stringify(value));
  throw new InputError({
    source: join(folder, RUN_CONFIG),
    field: differs,
    expected: `${tell(stored.get(differs))}, as in the run to resume`,
    found: tell(given.get(differs)),
  });
}

function covers(mayChange: readonly string[], key: string): boolean {
  return mayChange.some((allowed) => key === allowed || key.startsWith(`${allowed}.`));
}

/** Dotted key -> value; lists count as values. */
function flatten(value: unknown, prefix = ''): Map<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return new Map([[prefix, value]]);
  const entries = Object.entries(value);
  return new Map(
    entries.flatMap(([key, inner]) => [...flatten(inner, prefix === '' ? key : `${prefix}.${key}`)]),
  );
}
