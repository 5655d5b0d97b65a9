/**
 * Append-only logs of a run, one JSON object per line, ordered by step. Opening a log at a step truncates it to its
 * state when that step was finished, so that a resumed run writes the same file as an uninterrupted one.
 */
import { createReadStream } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type { z } from 'zod';
import { InputError } from './errors.js';
import { describeReadFailure } from './files.js';

interface StepRecord {
  step: number;
}

/** A log open for appending. Lines are on disk once `flush` has resolved. */
export class RecordLog<T extends StepRecord> {
  readonly path: string;
  /** The last record kept when the log was opened. */
  readonly kept: T | undefined;
  readonly #file: FileHandle;
  /** Appends are queued here: lines stay whole and in order without the caller waiting. */
  #tail: Promise<void> = Promise.resolve();
  /** No records of this step or earlier ones are accepted. */
  #sealed: number;
  #last: number;

  private constructor(path: string, file: FileHandle, afterStep: number, kept: T | undefined) {
    this.path = path;
    this.kept = kept;
    this.#file = file;
    this.#sealed = afterStep - 1;
    this.#last = afterStep;
  }

  /**
   * Opens the log and truncates it to the steps up to `afterStep`; an incomplete last line is dropped.
   * @throws InputError for a broken line before the last.
   */
  static async open<T extends StepRecord>(
    path: string,
    schema: z.ZodType<T>,
    afterStep: number,
  ): Promise<RecordLog<T>> {
    const file = await open(path, 'a+');
    try {
      let end = 0;
      let kept: T | undefined;
      for await (const line of readLines(path, schema)) {
        if (line.record.step > afterStep) break;
        end = line.end;
        kept = line.record;
      }
      await file.truncate(end);
      await file.sync();
      return new RecordLog<T>(path, file, afterStep, kept);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /**
   * Appends one record; numbers that are not finite become null. Resolves when the operating system has the line.
   * Steps never go back, and a step takes no records after its checkpoint, except from a run resumed at it.
   */
  append(record: T): Promise<void> {
    if (record.step <= this.#sealed || record.step < this.#last) {
      const limit = `step ${Math.max(this.#sealed + 1, this.#last)} or later`;
      throw new RangeError(
        `internal: ${this.path}: expected a record of ${limit}, found step ${record.step}`,
      );
    }
    this.#last = record.step;
    const line = `${JSON.stringify(record)}\n`;
    this.#tail = this.#tail.then(() => this.#file.appendFile(line));
    return this.#tail;
  }

  /** Flushes, then accepts no more records of `step` or earlier steps. */
  async seal(step: number): Promise<void> {
    await this.flush();
    this.#sealed = step;
  }

  /** Resolves when every appended line is on disk. */
  async flush(): Promise<void> {
    await this.#tail;
    await this.#file.sync();
  }

  async close(): Promise<void> {
    try {
      await this.#tail;
    } finally {
      await this.#file.close();
    }
  }
}

/** The records of a log in order, without an incomplete last line. @throws InputError for a broken line. */
export async function* readRecords<T extends StepRecord>(
  path: string,
  schema: z.ZodType<T>,
): AsyncGenerator<T> {
  for await (const line of readLines(path, schema)) yield line.record;
}

interface Line<T> {
  record: T;
  /** Bytes from the start of the file to the end of this line. */
  end: number;
}

async function* readLines<T>(path: string, schema: z.ZodType<T>): AsyncGenerator<Line<T>> {
  let rest: Buffer = Buffer.alloc(0);
  let offset = 0;
  let number = 0;
  let broken: InputError | undefined;
  try {
    for await (const chunk of createReadStream(path)) {
      rest = Buffer.concat([rest, chunk as Buffer]);
      let start = 0;
      for (let newline = rest.indexOf(10); newline !== -1; newline = rest.indexOf(10, start)) {
        if (broken !== undefined) throw broken;
        number++;
        const text = rest.toString('utf8', start, newline);
        start = newline + 1;
        const record = parseRecord(text, schema);
        if (record !== undefined) yield { record, end: offset + start };
        // A power failure can leave garbage with a line end as the last line: an error only if another line follows.
        else broken = brokenLine(path, number, text);
      }
      offset += start;
      rest = rest.subarray(start);
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError({ source: path, expected: 'a readable file', found: describeReadFailure(error) });
  }
}

function parseRecord<T>(text: string, schema: z.ZodType<T>): T | undefined {
  try {
    const result = schema.safeParse(JSON.parse(text));
    return result.success ? result.data : undefined;
  } catch {
    return undefined;
  }
}

function brokenLine(path: string, number: number, text: string): InputError {
  const found = text.length > 60 ? `${text.slice(0, 60)}...` : text;
  return new InputError({
    source: path,
    field: `line ${number}`,
    expected: 'a record of this log as JSON',
    found: JSON.stringify(found),
  });
}
