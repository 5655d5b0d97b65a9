/** Files whose SHA-256 is computed while writing and checked while reading, in one pass each. */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { InputError } from '../run/errors.js';
import { describeReadFailure } from '../run/files.js';

export interface FileDigest {
  bytes: number;
  /** Hex. */
  sha256: string;
}

/** Writes a new file piece by piece. */
export async function writeChecked(path: string, pieces: Iterable<Uint8Array>): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  const file = await open(path, 'wx');
  try {
    for (const piece of pieces) {
      hash.update(piece);
      await file.writeFile(piece);
      bytes += piece.length;
    }
  } finally {
    await file.close();
  }
  return { bytes, sha256: hash.digest('hex') };
}

/** The digest of a file that something else wrote. */
export async function digestOf(path: string): Promise<FileDigest> {
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const piece of createReadStream(path)) {
    hash.update(piece as Buffer);
    bytes += (piece as Buffer).length;
  }
  return { bytes, sha256: hash.digest('hex') };
}

/**
 * Opens a file and reads the bytes that the digest covers: `take` gets pieces of `pieceBytes` (the last may be
 * shorter), whose memory is reused. The caller closes the handle.
 * @throws InputError if the file cannot be read or does not match the digest.
 */
export async function openChecked(
  path: string,
  expected: FileDigest,
  pieceBytes: number,
  take: (piece: Uint8Array) => void,
): Promise<FileHandle> {
  let file: FileHandle;
  try {
    file = await open(path, 'r');
  } catch (error) {
    throw new InputError({ source: path, expected: 'a readable file', found: describeReadFailure(error) });
  }
  try {
    const hash = createHash('sha256');
    const buffer = new Uint8Array(Math.min(pieceBytes, expected.bytes));
    for (let at = 0; at < expected.bytes; at += buffer.length) {
      const piece = buffer.subarray(0, Math.min(buffer.length, expected.bytes - at));
      await readFully(file, piece, at, path);
      hash.update(piece);
      take(piece);
    }
    const sha256 = hash.digest('hex');
    if (sha256 !== expected.sha256) {
      throw new InputError({ source: path, field: 'SHA-256', expected: expected.sha256, found: sha256 });
    }
    return file;
  } catch (error) {
    await file.close();
    throw error;
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
