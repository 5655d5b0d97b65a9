/**
 * Files and folders written atomically: they are written under a temporary name next to the target, flushed to disk,
 * then renamed. The next process recognises the leftovers of a killed one by their names and removes them.
 */
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { InputError } from './errors.js';
import { refuseStandIn, standIn } from './stand-in.js';
import { isAlive, parseTemporaryName, temporaryPath } from './temporary.js';

/** Flushes a folder's entries, so that a rename in it survives a power failure. */
async function syncFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return; // Folders cannot be opened there.
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) await syncTree(path);
    else if (entry.isFile()) {
      const handle = await open(path, 'r+');
      try {
        await handle.sync();
      } finally {
        await handle.close();
      }
    }
  }
  await syncFolder(folder);
}

/**
 * Writes a file atomically, replacing an existing one and creating missing folders. `data` may be a function that
 * writes to the open file, for contents too large to hold in memory.
 */
export async function writeFileAtomic(
  path: string,
  data: string | Uint8Array | ((file: FileHandle) => Promise<void>),
): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  const temporary = temporaryPath(path);
  try {
    const file = await open(temporary, 'wx');
    try {
      if (typeof data === 'function') await data(file);
      else await file.writeFile(data);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
  await syncFolder(dirname(path));
}

/** Characters buffered before they are written. */
const PIECE = 1 << 20;

/** Writes lines as `writeFileAtomic` does; their total may exceed the longest string. */
export function writeLinesAtomic(path: string, lines: Iterable<string>): Promise<void> {
  return writeFileAtomic(path, async (file) => {
    let piece = '';
    for (const line of lines) {
      piece += `${line}\n`;
      if (piece.length < PIECE) continue;
      await file.writeFile(piece);
      piece = '';
    }
    await file.writeFile(piece);
  });
}

/** Writes `value` as indented JSON, as `writeFileAtomic` does. */
export function writeJsonAtomic(path: string, value: unknown): Promise<void> {
  return writeFileAtomic(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** A kind of folder that is published as a whole. */
export interface FolderKind {
  /** Name with its article, such as 'an index'. */
  name: string;
  is: (folder: string) => Promise<boolean>;
}

export interface PublishOptions {
  /** Replace an existing folder. Default false: an InputError, unless the folder is empty. */
  replace?: boolean;
  /** Replace only folders of this kind. Default: any. */
  kind?: FolderKind;
}

/**
 * Creates the folder `path` atomically. `fill` writes into a temporary folder next to it, which is flushed and renamed
 * when `fill` returns and removed when it throws. A replaced folder stays until the new one is complete.
 * @throws InputError if `path` is occupied, before or after `fill`, and may not be replaced.
 */
export async function publishFolder(
  path: string,
  fill: (temporary: string) => Promise<void>,
  options: PublishOptions = {},
): Promise<void> {
  const parent = dirname(path);
  await mkdir(parent, { recursive: true });
  await assertReplaceable(path, options);
  const temporary = temporaryPath(path);
  try {
    await mkdir(temporary);
    await fill(temporary);
    await syncTree(temporary);
    // `fill` may have taken a long time: check again.
    if (await isToBeReplaced(path, options)) {
      const old = temporaryPath(path, 'old');
      await rename(path, old);
      try {
        await rename(temporary, path);
      } catch (error) {
        await rename(old, path);
        throw error;
      }
      await syncFolder(parent);
      await rm(old, { recursive: true, force: true });
    } else {
      await rename(temporary, path);
    }
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    throw error;
  }
  await syncFolder(parent);
}

/**
 * Checks, before long work that ends in `publishFolder`, that `path` may be written. Completes an interrupted
 * replacement of `path` first.
 * @param how the option that the caller's users set to replace the folder. Default `overwrite`.
 * @throws InputError if `path` is occupied and may not be replaced.
 */
export async function assertReplaceable(path: string, options: PublishOptions, how?: string): Promise<void> {
  if (await exists(dirname(path))) await cleanTemporaries(dirname(path), basename(path));
  await isToBeReplaced(path, options, how);
}

/** Whether `path` is occupied. @throws InputError if it is and may not be replaced. */
async function isToBeReplaced(
  path: string,
  { replace = false, kind }: PublishOptions,
  how = 'overwrite',
): Promise<boolean> {
  const occupied = await whatStandsAt(path);
  if (!occupied) return false;
  const refused = (found: string, remedy: string): InputError => {
    const expected = 'a new or empty folder';
    return new InputError({ source: path, expected, found, remedy });
  };
  if (kind !== undefined && !(await kind.is(path))) {
    const remedy = `Only ${kind.name} is ever replaced: choose another folder.`;
    throw refused(`${occupied}, and not ${kind.name}`, remedy);
  }
  if (!replace) throw refused(kind?.name ?? occupied, `Set ${how} to replace it.`);
  return true;
}

/** Removes a folder; under its name it is always complete or gone. */
export async function removeFolder(path: string): Promise<void> {
  // Renamed to `.tmp`: the next clean-up finishes an interrupted removal.
  const temporary = temporaryPath(path);
  await rename(path, temporary);
  await rm(temporary, { recursive: true, force: true });
}

/** What occupies `path`, in words; false if there is nothing or an empty folder. */
async function whatStandsAt(path: string): Promise<string | false> {
  try {
    if (!(await stat(path)).isDirectory()) return 'a file';
  } catch {
    return false;
  }
  return (await readdir(path)).length > 0 ? 'a folder that is not empty' : false;
}

/**
 * Removes what killed processes left half-written in `folder` (only for the target `name`, if given), and restores a
 * folder whose replacement stopped between the two renames. Returns the names it handled.
 */
export async function cleanTemporaries(folder: string, name?: string): Promise<string[]> {
  const cleaned: string[] = [];
  for (const entry of await readdir(folder)) {
    const parts = parseTemporaryName(entry);
    if (parts === undefined || (name !== undefined && parts.name !== name)) continue;
    const path = join(folder, entry);
    if (!(await isAbandoned(path, parts.pid))) continue;
    const target = join(folder, parts.name);
    if (parts.kind === 'old' && !(await exists(target))) {
      await rename(path, target);
    } else {
      await rm(path, { recursive: true, force: true });
    }
    cleaned.push(entry);
  }
  return cleaned.sort();
}

/** In containers a restarted process often gets the same id: files with our id that are older than us are abandoned. */
async function isAbandoned(path: string, pid: number): Promise<boolean> {
  if (pid !== process.pid) return !isAlive(pid);
  const started = Date.now() - process.uptime() * 1000;
  const found = await stat(path).catch(() => undefined);
  return found !== undefined && found.mtimeMs < started - 1000;
}

export async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** The result of `read` on the file at `path`; undefined if there is none. */
export async function readIfThere<T>(
  path: string,
  read: (path: string) => Promise<T>,
): Promise<T | undefined> {
  return (await exists(path)) ? read(path) : undefined;
}

/** Reads a text file. @throws InputError if it is missing, cannot be read or is another file (see `refuseStandIn`). */
export async function readText(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => refuseUnreadable(path, error));
  refuseStandIn(path, text);
  return text;
}

/** @throws InputError about a read of the file at `path` that failed with `error`. */
export async function refuseUnreadable(path: string, error: unknown): Promise<never> {
  const found = describeReadFailure(error);
  const missing = (error as NodeJS.ErrnoException).code === 'ENOENT' ? await whereElse(path) : undefined;
  throw new InputError({ source: path, expected: 'a readable file', found, ...missing });
}

/** Endings of files that people have in place of the one that is read. */
const OTHER_FORMS = /\.(?:gz|bz2|xz|zst|zip|jsonl?|tsv|csv|txt|parquet|model)$/;

/** Where to look for a file that is not there: in a folder inside its folder, or under another ending. */
export async function whereElse(path: string): Promise<{ found?: string; remedy: string } | undefined> {
  const [folder, name] = [dirname(path), basename(path)];
  const namesIn = async (at: string) => (await readdir(at).catch((): string[] => [])).sort();
  const names = await namesIn(folder);
  if (names.includes(name)) {
    return { found: 'a link to a file that is missing', remedy: 'Fetch what it links to.' };
  }
  // A cache of the Hugging Face hub keeps its models there.
  const snapshots = (await namesIn(join(folder, 'snapshots'))).map((one) => join('snapshots', one));
  for (const one of [...names, ...snapshots]) {
    if (await exists(join(folder, one, name))) return { remedy: `Is it ${join(folder, one)}?` };
  }
  const [stem] = name.split('.');
  const other = names.find((one) => one.startsWith(`${stem}.`) && OTHER_FORMS.test(one));
  return other === undefined ? undefined : { remedy: `${other} is there, but only ${name} is read.` };
}

/** Reads a JSON file. @throws InputError naming the file, and what is wrong if it is not JSON. */
export async function readJson(path: string): Promise<unknown> {
  const text = await readText(path);
  if (text.trim() !== '') return parseJson(text, { source: path, whole: true });
  const remedy = 'Fetch it again.';
  throw new InputError({ source: path, expected: 'valid JSON', found: 'an empty file', remedy });
}

/** Characters of broken JSON that an error shows. */
const SHOWN = 60;

export interface JsonOrigin {
  source: string;
  field?: string;
  /** The text is a whole file, so JSON that stops early means a truncated file. Default false. */
  whole?: boolean;
}

/** Strings, and what is no JSON, but Python writes and reads it. */
const STRINGS_AND_CONSTANTS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\b(?:NaN|Infinity)\b/g;

/**
 * Parses JSON. A byte order mark is dropped, and Python's NaN and infinities are read as null. @throws InputError naming its source and the broken text; a long text is cut and followed by the
 * parser's message.
 */
export function parseJson(text: string, { whole = false, ...from }: JsonOrigin): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const lenient = text
      .replace(/^\ufeff/, '')
      .replace(STRINGS_AND_CONSTANTS, (token) => (token.startsWith('"') ? token : 'null'));
    // Without the mark or the constants: this ends.
    if (lenient !== text) return parseJson(lenient, { whole, ...from });
    const { message } = error as SyntaxError;
    const trimmed = text.trim();
    let found = JSON.stringify(trimmed);
    if (trimmed === '') found = 'an empty text';
    else if (trimmed.length > SHOWN) {
      found = `${JSON.stringify(`${trimmed.slice(0, SHOWN)}...`)} (${message})`;
    }
    const truncated = whole && /end of JSON input|Unterminated string/.test(message);
    throw new InputError({
      ...from,
      expected: 'valid JSON',
      found,
      ...(truncated && { remedy: 'The file ends too early: fetch it again.' }),
      ...standIn(text),
    });
  }
}

/** Describes a failed read; rethrows any error that is not a system error. */
export function describeReadFailure(error: unknown): string {
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined) throw error;
  const known: Record<string, string> = {
    ENOENT: 'nothing there',
    EISDIR: 'a folder',
    ENOTDIR: 'a file where its folder should be',
    EACCES: 'no permission to read it',
  };
  return known[code] ?? code;
}
