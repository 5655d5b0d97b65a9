/** Text marked as HTML, which `escape` and `safe` return. It prints unchanged, and text added to it is escaped. */
import { raise, unsupported } from './errors.js';
import { repr, str } from './repr.js';
import { codePoints, textLength } from './text.js';
import { PyObject, typeName, type Value } from './values.js';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '>': '&gt;',
  '<': '&lt;',
  "'": '&#39;',
  '"': '&#34;',
};

export class Markup extends PyObject {
  readonly typeName = 'Markup';
  constructor(private readonly text: string) {
    super();
  }

  /** `escape(value)`. */
  static escape(value: Value): Markup {
    if (value instanceof Markup) return value;
    return new Markup(str(value).replace(/[&><'"]/g, (character) => ENTITIES[character] ?? character));
  }

  /** `a + b` if at least one is marked; undefined if Python raises a TypeError. */
  static sum(a: Value, b: Value): Markup | undefined {
    const isText = (value: Value) => typeof value === 'string' || value instanceof Markup;
    if (!isText(a) || !isText(b)) return undefined;
    return new Markup(Markup.escape(a).text + Markup.escape(b).text);
  }

  repeat(times: bigint): Markup {
    if (times * BigInt(this.text.length) > 1n << 26n) unsupported('a text this long');
    return new Markup(this.text.repeat(times > 0n ? Number(times) : 0));
  }

  override toString(): string {
    return this.text;
  }

  override truthy(): boolean {
    return this.text !== '';
  }

  override length(): number {
    return textLength(this.text);
  }

  override iterate(): Iterable<Value> {
    return codePoints(this.text);
  }

  override str(): string {
    return this.text;
  }

  override repr(): string {
    return `Markup(${repr(this.text)})`;
  }

  override attribute(name: string): Value | undefined {
    return unsupported(`the attribute '${name}' of escaped text`);
  }

  override item(): Value | undefined {
    return unsupported('indexing escaped text');
  }

  override equals(other: Value): boolean {
    return (typeof other === 'string' || other instanceof Markup) && String(other) === this.text;
  }

  override hash(): unknown {
    return this.text;
  }
}

/** What a block writes. Jinja2 joins it without converting it to text. */
export function written(value: Value): string {
  if (typeof value === 'string' || value instanceof Markup) return String(value);
  return raise(`a block has to write text, not ${typeName(value)}`);
}
