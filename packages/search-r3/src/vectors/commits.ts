/**
 * `commits.jsonl`, the log of the changes to an index, one a line: how many rows were appended to the other files, with
 * their checksums, and which rows were removed. A change counts once its line is whole, which the CRC-32 at the start of
 * the line proves; so a change that was interrupted has never happened.
 */
import { readFile } from 'node:fs/promises';
import { crc32 } from 'node:zlib';
import { z } from 'zod';
import { digestSchema } from '../run/checked-files.js';
import { InputError } from '../run/errors.js';
import { parseJson, refuseUnreadable } from '../run/files.js';
import { validate } from '../run/validate.js';

const commitSchema = z.strictObject({
  /** Rows appended, if any. */
  added: z
    .strictObject({ rows: z.int().positive(), vectors: digestSchema, documents: digestSchema })
    .optional(),
  /** Rows removed. */
  removed: z.array(z.int().nonnegative()).optional(),
});

export type Commit = z.output<typeof commitSchema>;

const NEWLINE = 10;
const CHECKSUM_DIGITS = 8;

const checksum = (text: string): string => crc32(text).toString(16).padStart(CHECKSUM_DIGITS, '0');

/** The line of a commit. */
export function commitLine(commit: Commit): Buffer {
  const text = JSON.stringify(commit);
  return Buffer.from(`${checksum(text)} ${text}\n`);
}

/** The commits of a log and the length of their lines; what follows was interrupted. */
export interface CommitsRead {
  commits: Commit[];
  bytes: number;
}

/** Reads the commits of a log. @throws InputError for a damaged line before the last. */
export async function readCommits(path: string): Promise<CommitsRead> {
  const all = await readFile(path).catch((error: unknown) => refuseUnreadable(path, error));
  const commits: Commit[] = [];
  let start = 0;
  for (let end = all.indexOf(NEWLINE, start); end >= 0; end = all.indexOf(NEWLINE, start)) {
    const line = all.toString('utf8', start, end);
    const text = line.slice(CHECKSUM_DIGITS + 1);
    const source = `${path}:${commits.length + 1}`;
    if (line.slice(0, CHECKSUM_DIGITS) !== checksum(text)) {
      // After a power failure the last line may be garbage with a line end.
      if (all.indexOf(NEWLINE, end + 1) < 0) break;
      throw new InputError({ source, expected: 'a line that matches its checksum', found: 'another' });
    }
    commits.push(validate(commitSchema, parseJson(text, { source }), source));
    start = end + 1;
  }
  return { commits, bytes: start };
}
