/**
 * Files whose length and SHA-256 a manifest holds: indexes, checkpoints. What is read is compared with it byte by byte,
 * so that a truncated download, a bad disk or a half-finished copy shows when a file is opened, with its name.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from './errors.js';
import { describeReadFailure } from './files.js';

export const digestSchema = z.strictObject({
  bytes: z.int().nonnegative(),
  /** Hex. */
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected 64 hex digits'),
});

export type FileDigest = z.output<typeof digestSchema>;

/** The files of a folder by name; names in inner folders have slashes. */
export const fileListSchema = z.record(z.string(), digestSchema);

export type FileList = z.output<typeof fileListSchema>;

/** Files are hashed in pieces of this many bytes. */
const PIECE = 1 << 20;

/** Writes pieces to an open file, from a position on. */
export async function writeChecked(
  file: FileHandle,
  from: number,
  pieces: Iterable<Uint8Array>,
): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  for (const piece of pieces) {
    hash.update(piece);
    for (let done = 0; done < piece.length; ) {
      const { bytesWritten } = await file.write(piece, done, piece.length - done, from + bytes + done);
      done += bytesWritten;
    }
    bytes += piece.length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** The digest of a file that something else wrote. */
export async function digestOf(path: string): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of createReadStream(path, { highWaterMark: PIECE })) {
    hash.update(piece as Buffer);
    bytes += (piece as Buffer).length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** The digests of all files in a folder and in its folders, in the order of their names. */
export async function listFiles(folder: string): Promise<FileList> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(join(folder, '/').length).replaceAll('\\', '/'))
    .sort();
  const files: FileList = {};
  for (const name of names) files[name] = await digestOf(join(folder, name));
  return files;
}

/** Opens a file for reading. @throws InputError if that fails. */
export async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r');
  } catch (error) {
    throw new InputError({ source: path, expected: 'a readable file', found: describeReadFailure(error) });
  }
}

/** The part of a file that a digest covers. */
export interface CheckedPart {
  path: string;
  /** The first byte. */
  from: number;
  digest: FileDigest;
}

/**
 * Reads a part of a file: `take` gets pieces of `pieceBytes` (the last may be shorter), whose memory is reused.
 * @throws InputError if the part does not match its digest.
 */
export async function readChecked(
  file: FileHandle,
  { path, from, digest }: CheckedPart,
  pieceBytes: number,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  const hash = createHash('sha256');
  const buffer = new Uint8Array(Math.min(pieceBytes, digest.bytes));
  for (let at = 0; at < digest.bytes; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, digest.bytes - at));
    await readFully(file, piece, from + at, path);
    hash.update(piece);
    take(piece);
  }
  const sha256 = hash.digest('hex');
  if (sha256 !== digest.sha256) {
    throw new InputError({ source: path, field: 'SHA-256', expected: digest.sha256, found: sha256 });
  }
}

/** Reads a whole file; see `readChecked`. */
export async function readCheckedFile(
  path: string,
  digest: FileDigest,
  pieceBytes: number,
  take: (piece: Uint8Array) => void,
): Promise<void> {
  const file = await openFile(path);
  try {
    await readChecked(file, { path, from: 0, digest }, pieceBytes, take);
  } finally {
    await file.close();
  }
}

/** Fills `target` from `position` on. @throws InputError if the file ends too early. */
export async function readFully(
  file: FileHandle,
  target: Uint8Array,
  position: number,
  path: string,
): Promise<void> {
  for (let done = 0; done < target.length; ) {
    const { bytesRead } = await file.read(target, done, target.length - done, position + done);
    if (bytesRead === 0) {
      const found = `its end at byte ${position + done}`;
      throw new InputError({ source: path, expected: `${target.length} bytes at ${position}`, found });
    }
    done += bytesRead;
  }
}

/** Checks the lengths of files, without reading them. @throws InputError for the first that is missing or differs. */
export async function checkLengths(folder: string, files: FileList): Promise<void> {
  for (const [name, { bytes }] of Object.entries(files)) {
    const path = join(folder, name);
    const found = await stat(path).then(({ size }) => `${size} bytes`, describeReadFailure);
    if (found === `${bytes} bytes`) continue;
    throw new InputError({ source: path, expected: `${bytes} bytes, as the manifest says`, found });
  }
}

/** Checks every byte of files. @throws InputError for the first that is missing or differs. */
export async function checkFiles(folder: string, files: FileList): Promise<void> {
  await checkLengths(folder, files);
  for (const [name, digest] of Object.entries(files)) {
    await readCheckedFile(join(folder, name), digest, PIECE, () => {});
  }
}
