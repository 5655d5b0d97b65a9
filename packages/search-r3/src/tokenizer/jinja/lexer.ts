/**
 * Splits a template into tokens, as Jinja2's lexer does with `trim_blocks` and `lstrip_blocks`. Line ends of any kind
 * are read as line feeds, and a line end at the end of the template is dropped.
 */
import { TemplateError } from './errors.js';
import { parseLiteral } from './numbers.js';
import { SPACES, stripEnd } from './text.js';
import { unescapeText } from './unescape.js';

/** `block_begin`, ..., `name`, `string`, `integer`, `float`, `data`, `eof`, or an operator as written. */
export interface Token {
  type: string;
  line: number;
  /** The text of data, names and strings (unescaped). */
  text: string;
  /** The value of integers and floats. */
  number?: bigint | number;
}

const LINE_END = /\r\n|\r|\n/g;
const S = `[${SPACES}]`;

/** The next tag, with the sign of its white space control. */
const TAG = new RegExp(
  `\\{%(?<rawSign>[-+]?)${S}*raw${S}*(?:-%\\}${S}*|%\\})|\\{(?<open>[%{#])(?<sign>[-+]?)`,
  'g',
);
const COMMENT_END = new RegExp(`\\+#\\}|-#\\}${S}*|#\\}\\n?`, 'g');
const RAW_END = new RegExp(`\\{%(?<sign>[-+]?)${S}*endraw${S}*(?:\\+%\\}|-%\\}${S}*|%\\}\\n?)`, 'g');
const BLOCK_END = new RegExp(`\\+%\\}|-%\\}${S}*|%\\}\\n?`, 'y');
const VARIABLE_END = new RegExp(`-\\}\\}${S}*|\\}\\}`, 'y');

const WHITE_SPACE = new RegExp(`${S}+`, 'y');
const FLOAT = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?e[+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/iy;
const INTEGER = /0b(?:_?[01])+|0o(?:_?[0-7])+|0x(?:_?[\da-f])+|[1-9](?:_?\d)*|0(?:_?0)*/iy;
const NAME = /[\p{L}\p{N}\p{XID_Continue}_]+/uy;
const IDENTIFIER = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;
const STRING = /'[^'\\]*(?:\\.[^'\\]*)*'|"[^"\\]*(?:\\.[^"\\]*)*"/sy;
const OPERATOR = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;

const CLOSING: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

export function tokenize(template: string): Token[] {
  return new Lexer(template).run();
}

class Lexer {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #position = 0;
  #line = 1;
  /** Whether the previous token ended a line, so that white space before a tag may start a line. */
  #lineStarting = true;

  constructor(template: string) {
    this.#source = template.replace(LINE_END, '\n').replace(/\n$/, '');
  }

  run(): Token[] {
    while (this.#position < this.#source.length) this.#readData();
    this.#push('eof');
    return this.#tokens;
  }

  #push(type: string, text = '', number?: bigint | number): void {
    this.#tokens.push({ type, line: this.#line, text, ...(number !== undefined && { number }) });
  }

  /** Consumes the source up to `end`. */
  #advance(end: number): string {
    const taken = this.#source.slice(this.#position, end);
    for (const character of taken) if (character === '\n') this.#line++;
    if (taken !== '') this.#lineStarting = taken.endsWith('\n');
    this.#position = end;
    return taken;
  }

  #fail(message: string): never {
    throw new TemplateError(message, this.#line);
  }

  /** Text up to the next tag, and the tag. */
  #readData(): void {
    TAG.lastIndex = this.#position;
    const tag = TAG.exec(this.#source);
    if (tag === null) {
      this.#push('data', this.#source.slice(this.#position));
      this.#advance(this.#source.length);
      return;
    }
    const { rawSign, open, sign = rawSign ?? '' } = tag.groups ?? {};
    this.#pushData(tag.index, sign, open !== '{');
    switch (open) {
      case '#':
        this.#advance(tag.index + tag[0].length);
        this.#skipComment();
        break;
      case '{':
        this.#push('variable_begin');
        this.#advance(tag.index + tag[0].length);
        this.#readCode(VARIABLE_END, 'variable_end');
        break;
      case '%':
        this.#push('block_begin');
        this.#advance(tag.index + tag[0].length);
        this.#readCode(BLOCK_END, 'block_end');
        break;
      default:
        this.#advance(tag.index + tag[0].length);
        this.#readRaw();
    }
  }

  /** The text before a tag, without the white space that the tag strips. */
  #pushData(end: number, sign: string, isBlock: boolean): void {
    const text = this.#source.slice(this.#position, end);
    let kept = text;
    if (sign === '-') {
      kept = stripEnd(text);
    } else if (sign !== '+' && isBlock) {
      const lineStart = text.lastIndexOf('\n') + 1;
      const ownLine = lineStart > 0 || this.#lineStarting;
      if (ownLine && stripEnd(text.slice(lineStart)) === '') kept = text.slice(0, lineStart);
    }
    if (kept !== '') this.#push('data', kept);
    this.#advance(end);
  }

  #skipComment(): void {
    COMMENT_END.lastIndex = this.#position;
    const end = COMMENT_END.exec(this.#source);
    if (end !== null) this.#advance(end.index + end[0].length);
    // Jinja2 ignores a comment that begins at the very end of the template.
    else if (this.#position < this.#source.length) this.#fail('Missing end of comment tag');
  }

  #readRaw(): void {
    RAW_END.lastIndex = this.#position;
    const end = RAW_END.exec(this.#source);
    if (end !== null) {
      this.#pushData(end.index, end.groups?.sign ?? '', true);
      this.#advance(end.index + end[0].length);
    } else if (this.#position < this.#source.length) {
      this.#fail('Missing end of raw directive');
    }
  }

  /** The match of a sticky expression at the current position. */
  #match(expression: RegExp): string | undefined {
    expression.lastIndex = this.#position;
    return expression.exec(this.#source)?.[0];
  }

  #readCode(end: RegExp, endType: string): void {
    const brackets: string[] = [];
    while (this.#position < this.#source.length) {
      // Inside brackets, what looks like the end of a tag can only be operators: {{ {"a": {}} }}.
      const closing = brackets.length === 0 ? this.#match(end) : undefined;
      if (closing !== undefined) {
        this.#push(endType);
        this.#advance(this.#position + closing.length);
        return;
      }
      this.#readToken(brackets);
    }
  }

  #readToken(brackets: string[]): void {
    const space = this.#match(WHITE_SPACE);
    if (space !== undefined) {
      this.#advance(this.#position + space.length);
      return;
    }
    const text = this.#pushToken(brackets);
    this.#advance(this.#position + text.length);
  }

  #pushToken(brackets: string[]): string {
    for (const [type, expression] of [
      ['float', FLOAT],
      ['integer', INTEGER],
    ] as const) {
      const digits = this.#match(expression);
      if (digits === undefined) continue;
      this.#push(type, digits, parseLiteral(digits));
      return digits;
    }
    const name = this.#match(NAME);
    if (name !== undefined) {
      if (!IDENTIFIER.test(name)) this.#fail('Invalid character in identifier');
      // Python looks up variables by their normal form, but entries of the context by the name as written.
      if (name !== name.normalize('NFKC')) this.#fail(`the name "${name}" is not in normal form (NFKC)`);
      this.#push('name', name);
      return name;
    }
    const string = this.#match(STRING);
    if (string !== undefined) {
      this.#push(
        'string',
        unescapeText(string.slice(1, -1), (message) => this.#fail(message)),
      );
      return string;
    }
    const operator = this.#match(OPERATOR);
    if (operator === undefined) {
      const [character = ''] = this.#source.slice(this.#position);
      this.#fail(`unexpected char '${character}' at ${this.#position}`);
    }
    this.#balance(brackets, operator);
    this.#push(operator);
    return operator;
  }

  #balance(brackets: string[], operator: string): void {
    const closing = CLOSING[operator];
    if (closing !== undefined) brackets.push(closing);
    if (!/^[)\]}]$/.test(operator)) return;
    const expected = brackets.pop();
    if (expected === undefined) this.#fail(`unexpected '${operator}'`);
    if (expected !== operator) this.#fail(`unexpected '${operator}', expected '${expected}'`);
  }
}
