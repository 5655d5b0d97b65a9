/** Reads tokens one by one, for the parsers. */
import { TemplateError } from './errors.js';
import type { Token } from './lexer.js';

const DESCRIPTIONS: Readonly<Record<string, string>> = {
  block_begin: 'begin of statement block',
  block_end: 'end of statement block',
  variable_begin: 'begin of print statement',
  variable_end: 'end of print statement',
  data: 'template data / text',
  eof: 'end of template',
};

function describe(type: string): string {
  return DESCRIPTIONS[type] ?? type;
}

export class TokenReader {
  #index = 0;
  constructor(private readonly tokens: readonly Token[]) {}

  protected get current(): Token {
    return this.tokens[this.#index]!;
  }

  protected peek(): Token {
    return this.tokens[Math.min(this.#index + 1, this.tokens.length - 1)]!;
  }

  protected next(): Token {
    const token = this.current;
    if (token.type !== 'eof') this.#index++;
    return token;
  }

  protected fail(message: string, line = this.current.line): never {
    throw new TemplateError(message, line);
  }

  protected isName(name: string): boolean {
    return this.current.type === 'name' && this.current.text === name;
  }

  protected skip(type: string): boolean {
    if (this.current.type !== type) return false;
    this.next();
    return true;
  }

  protected skipName(name: string): boolean {
    if (!this.isName(name)) return false;
    this.next();
    return true;
  }

  protected expect(type: string): Token {
    if (this.current.type === type) return this.next();
    if (this.current.type === 'eof') this.fail(`unexpected end of template, expected '${describe(type)}'`);
    return this.fail(`expected token '${describe(type)}', got '${this.found()}'`);
  }

  protected expectName(name: string): Token {
    return this.isName(name) ? this.next() : this.fail(`expected token '${name}', got '${this.found()}'`);
  }

  protected found(): string {
    return this.current.type === 'name' ? this.current.text : describe(this.current.type);
  }
}
