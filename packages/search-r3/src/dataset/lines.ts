/**
 * Streams the lines of a UTF-8 text file. `\n`, `\r\n` and `\r` end a line, as in Python. Node's readline also breaks
 * at U+2028 and U+2029, which JSON allows inside a string; it would cut valid JSONL rows in two.
 */
import { createReadStream } from 'node:fs';
import { InputError } from '../run/errors.js';
import { parseJson, refuseUnreadable } from '../run/files.js';
import { refuseStandIn } from '../run/stand-in.js';

const LINE_END = /\r\n|[\n\r]/;
/** How many bytes are checked to recognise other kinds of file. */
const HEAD_BYTES = 512;

export interface Line {
  /** Without its line end. */
  text: string;
  /** `path:number`, counted from 1, for errors. */
  source: string;
}

/**
 * Yields the lines of `path` that are not blank, in order, without a byte order mark.
 * @param stream read instead of the file; errors still name `path`.
 * @throws InputError if the file cannot be read, is not UTF-8 or is another kind of file (see `refuseStandIn`).
 */
export async function* readLines(
  path: string,
  stream: AsyncIterable<unknown> = createReadStream(path, { highWaterMark: 1 << 20 }),
): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  let number = 0;
  let rest = '';
  const decode = (bytes?: Buffer) => {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch {
      const found = `other bytes on or after line ${number + 1}`;
      throw new InputError({ source: path, expected: 'UTF-8 text', found });
    }
  };
  function* split(text: string, last: boolean): Generator<Line> {
    // A carriage return at the end may be followed by a line feed that has not been read yet.
    const held = !last && text.endsWith('\r') ? '\r' : '';
    const lines = text.slice(0, text.length - held.length).split(LINE_END);
    rest = last ? '' : (lines.pop() ?? '') + held;
    for (const content of lines) {
      number++;
      if (content.trim() !== '') yield { text: content, source: `${path}:${number}` };
    }
  }
  try {
    let started = false;
    for await (const bytes of stream) {
      if (!started) refuseStandIn(path, (bytes as Buffer).toString('latin1', 0, HEAD_BYTES));
      started = true;
      yield* split(rest + decode(bytes as Buffer), false);
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    await refuseUnreadable(path, error);
  }
  yield* split(rest + decode(), true);
}

/** Parses one line of JSONL as an object. @throws InputError naming file and line. */
export function parseJsonLine(line: Line): Record<string, unknown> {
  const text = line.text.trim();
  // The first line of a JSON value that spans several lines.
  const value = text === '[' || text === '{' ? text : parseJson(line.text, { source: line.source });
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new InputError({
      source: line.source,
      expected: 'a JSON object',
      found: describeValue(value),
      remedy: 'The file must have one JSON object per line.',
    });
  }
  return value as Record<string, unknown>;
}

/**
 * Reads a string field of a row; `empty` says whether it may be `''`.
 * @throws InputError naming file, line and field.
 */
export function stringField(
  row: Record<string, unknown>,
  field: string,
  source: string,
  empty: 'allow-empty' | 'not-empty',
): string {
  const value = row[field];
  if (typeof value === 'string' && (value !== '' || empty === 'allow-empty')) return value;
  const expected = empty === 'allow-empty' ? 'a string' : 'a string that is not empty';
  throw new InputError({ source, field, expected, found: describeValue(value) });
}

/** An id as text: some programs write serial numbers as JSON numbers. */
export const idText = (value: unknown): unknown => (Number.isSafeInteger(value) ? String(value) : value);

/** Reads an integer in decimal digits (`2`, `+2`, `2.0`). @throws InputError naming file, line and field. */
export function integerField(text: string, field: string, source: string): number {
  const value = Number(text);
  if (/^[+-]?\d+(?:\.0*)?$/.test(text) && Number.isSafeInteger(value)) return value;
  throw new InputError({ source, field, expected: 'an integer', found: describeValue(text) });
}

/** Describes a value for the "found" part of an error. */
export function describeValue(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
