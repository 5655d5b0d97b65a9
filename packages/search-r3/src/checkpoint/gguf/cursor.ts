/** Reads a GGUF header from front to back: numbers and strings, each checked against the size of the file. */
import { isUtf8 } from 'node:buffer';
import { readSync } from 'node:fs';
import { InputError } from '../../run/errors.js';

/** Bytes read at once; a header with a vocabulary has a few megabytes. */
const WINDOW = 1 << 20;
/** Longest string of a header. A longer one means that the file is damaged. */
const MAX_STRING = 1 << 26;

/** Bytes of the numbers of a header. */
export const SIZES = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  u64: 8,
  i64: 8,
  f64: 8,
} as const;

export type NumberType = keyof typeof SIZES;

export class Cursor {
  readonly source: string;
  /** Bytes of the file. */
  readonly size: number;
  readonly #file: number;
  #window = Buffer.alloc(0);
  /** Position of the window in the file. */
  #start = 0;
  #position = 0;

  /** @param file an open file descriptor. */
  constructor(file: number, size: number, source: string) {
    this.#file = file;
    this.size = size;
    this.source = source;
  }

  get position(): number {
    return this.#position;
  }

  /** @throws InputError if the file ends before. */
  number(type: NumberType, field: string): number | bigint {
    const at = this.#take(SIZES[type], field);
    const bytes = this.#window;
    switch (type) {
      case 'u8':
        return bytes.readUInt8(at);
      case 'i8':
        return bytes.readInt8(at);
      case 'u16':
        return bytes.readUInt16LE(at);
      case 'i16':
        return bytes.readInt16LE(at);
      case 'u32':
        return bytes.readUInt32LE(at);
      case 'i32':
        return bytes.readInt32LE(at);
      case 'f32':
        return bytes.readFloatLE(at);
      case 'f64':
        return bytes.readDoubleLE(at);
      case 'u64':
        return plain(bytes.readBigUInt64LE(at));
      case 'i64':
        return plain(bytes.readBigInt64LE(at));
      default:
        throw new Error(`internal: ${type satisfies never}`);
    }
  }

  /** A number of things of which each takes at least `least` bytes of what is left of the file, and of `limit` at most. */
  count(type: 'u32' | 'u64', field: string, least: number, limit = Number.MAX_SAFE_INTEGER): number {
    const found = this.number(type, field);
    const most = Math.min(limit, Math.floor((this.size - this.#position) / least));
    if (found <= most) return Number(found);
    throw this.error(field, `at most ${most} in a file of ${this.size} bytes`, String(found));
  }

  string(field: string): string {
    const length = this.count('u64', `${field}, length`, 1, MAX_STRING);
    const at = this.#take(length, field);
    const text = this.#window.toString('utf8', at, at + length);
    // Stands for bytes that are not UTF-8, unless the file has it.
    if (text.includes('\ufffd') && !isUtf8(this.#window.subarray(at, at + length))) {
      throw this.error(field, 'UTF-8 text', 'other bytes');
    }
    return text;
  }

  error(field: string, expected: string, found: string): InputError {
    const remedy = 'The file is truncated or damaged: fetch it again.';
    return new InputError({ source: this.source, field, expected, found, remedy });
  }

  /** Moves past `length` bytes. @returns where they are in the window. */
  #take(length: number, field: string): number {
    const left = this.size - this.#position;
    if (length > left) throw this.error(field, `${length} bytes`, `${left} before the end of the file`);
    const end = this.#position + length;
    if (end > this.#start + this.#window.length) this.#load(length, field);
    const at = this.#position - this.#start;
    this.#position = end;
    return at;
  }

  #load(length: number, field: string): void {
    const bytes = Buffer.alloc(Math.min(Math.max(length, WINDOW), this.size - this.#position));
    let done = 0;
    while (done < bytes.length) {
      const read = readSync(this.#file, bytes, done, bytes.length - done, this.#position + done);
      if (read === 0) throw this.error(field, `${length} bytes`, 'the file cut short');
      done += read;
    }
    this.#window = bytes;
    this.#start = this.#position;
  }
}

/** Numbers that a double holds exactly are numbers. */
function plain(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
