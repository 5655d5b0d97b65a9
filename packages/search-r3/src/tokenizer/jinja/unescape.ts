/** Escapes in the strings of a template, as Python's `unicode-escape` codec reads them. */

const NAMED: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

const HEX_DIGITS: Readonly<Record<string, number>> = { x: 2, u: 4, U: 8 };

const ESCAPE = /\\(?:([0-7]{1,3})|([xuU])([\da-fA-F]*)|(N)|([\s\S]))/gu;

/**
 * Returns the text that is written between quotes.
 * @param fail called with the fault of an escape.
 */
export function unescapeText(text: string, fail: (message: string) => never): string {
  if (!text.includes('\\')) return text;
  // Jinja2 escapes non-ASCII characters first. After a backslash, this gives an escaped backslash and plain digits.
  const ascii = text.replace(/[\u0080-\u{10ffff}]/gu, asEscape);
  return ascii.replace(ESCAPE, (whole, octal, kind, hex, name, other) => {
    if (octal !== undefined) return String.fromCodePoint(Number.parseInt(octal, 8));
    if (kind !== undefined) return fromHex(kind, hex, fail);
    if (name !== undefined) return fail('named characters (\\N{...}) are not supported');
    return NAMED[other] ?? whole;
  });
}

function fromHex(kind: string, hex: string, fail: (message: string) => never): string {
  const size = HEX_DIGITS[kind] ?? 0;
  if (hex.length < size) return fail(`truncated \\${kind}${'X'.repeat(size)} escape`);
  const code = Number.parseInt(hex.slice(0, size), 16);
  if (code > 0x10ffff) return fail('illegal Unicode character');
  if (code >= 0xd800 && code <= 0xdfff) return fail('half of a surrogate pair is not supported');
  return String.fromCodePoint(code) + hex.slice(size);
}

function asEscape(character: string): string {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, '0')}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, '0')}` : `\\U${hex.padStart(8, '0')}`;
}
