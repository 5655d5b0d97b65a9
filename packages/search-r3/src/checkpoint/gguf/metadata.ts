/** Reads metadata by key, with errors that name the key of the file. */
import { InputError } from '../../run/errors.js';
import type { GgufMetadata, GgufValue } from './header.js';

export class Metadata {
  readonly source: string;
  readonly #values: GgufMetadata;

  constructor(values: GgufMetadata, source: string) {
    this.#values = values;
    this.source = source;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  string(key: string): string | undefined {
    return this.#read(key, 'text', (value) => (typeof value === 'string' ? value : undefined));
  }

  boolean(key: string): boolean | undefined {
    return this.#read(key, 'true or false', (value) => (typeof value === 'boolean' ? value : undefined));
  }

  number(key: string): number | undefined {
    const value = this.#read(key, 'a number', (one) => (Number.isFinite(one) ? (one as number) : undefined));
    return value === undefined ? undefined : shortest(value);
  }

  /** A size from 1, or a list that repeats it for each layer. */
  size(key: string): number | undefined {
    return this.#read(key, 'a whole number from 1, the same for every layer', (value) => {
      const [first, ...others] = Array.isArray(value) ? value : [value];
      const isSize = Number.isSafeInteger(first) && Number(first) >= 1;
      return isSize && others.every((other) => other === first) ? Number(first) : undefined;
    });
  }

  strings(key: string): string[] | undefined {
    const isString = (value: GgufValue): value is string => typeof value === 'string';
    return this.#read(key, 'a list of texts', (value) =>
      Array.isArray(value) && value.every(isString) ? value : undefined,
    );
  }

  numbers(key: string): number[] | undefined {
    const isNumber = (value: GgufValue): value is number => typeof value === 'number';
    return this.#read(key, 'a list of numbers', (value) =>
      Array.isArray(value) && value.every(isNumber) ? value : undefined,
    );
  }

  /** A value that has to be there. */
  required<T>(key: string, value: T | undefined): T {
    if (value !== undefined) return value;
    throw this.error(key, 'a value', 'nothing');
  }

  error(key: string, expected: string, found: string, remedy?: string): InputError {
    return new InputError({
      source: this.source,
      field: key,
      expected,
      found,
      ...(remedy !== undefined && { remedy }),
    });
  }

  #read<T>(key: string, expected: string, read: (value: GgufValue) => T | undefined): T | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    const found = read(value);
    if (found === undefined) throw this.error(key, expected, show(value));
    return found;
  }
}

function show(value: GgufValue): string {
  if (Array.isArray(value)) return `a list of ${value.length}`;
  const text = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

/** The shortest decimal with the value of a float32: 1e-5 is stored as 9.999999747378752e-6. */
function shortest(value: number): number {
  if (Math.fround(value) !== value) return value;
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}
