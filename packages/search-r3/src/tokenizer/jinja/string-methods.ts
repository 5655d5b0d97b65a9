/** The methods of str except `format`, which needs attributes. */
import { type Bound, intArgument, type Method, method, optionalText, textArgument } from './arguments.js';
import { iterate, Tuple } from './containers.js';
import { numeric } from './equality.js';
import { raise, unsupported } from './errors.js';
import { Markup } from './markup.js';
import { NOT_PRINTABLE } from './repr.js';
import { sliceBounds } from './slices.js';
import {
  codePoints,
  isFlat,
  isSpace,
  LOWERCASE,
  splitLines,
  stripEnd,
  stripStart,
  subtext,
  TITLECASE,
  textLength,
  titleCase,
  UPPERCASE,
} from './text.js';
import { truthy, typeName, type Value } from './values.js';

/** Characters that Python counts as digits: the decimal ones and others (Unicode 14). */
const DIGIT =
  /[\p{Nd}\xb2\xb3\xb9\u1369-\u1371\u19da\u2070\u2074-\u2079\u2080-\u2089\u2460-\u2468\u2474-\u247c\u2488-\u2490\u24ea\u24f5-\u24fd\u24ff\u2776-\u277e\u2780-\u2788\u278a-\u2792\u{10a40}-\u{10a43}\u{10e60}-\u{10e68}\u{11052}-\u{1105a}\u{1f100}-\u{1f10a}]/u;
/** Ideographs that are numbers. */
const NUMERIC_IDEOGRAPH =
  /[\u3405\u3483\u382a\u3b4d\u4e00\u4e03\u4e07\u4e09\u4e5d\u4e8c\u4e94\u4e96\u4ebf-\u4ec0\u4edf\u4ee8\u4f0d\u4f70\u5104\u5146\u5169\u516b\u516d\u5341\u5343-\u5345\u534c\u53c1-\u53c4\u56db\u58f1\u58f9\u5e7a\u5efe-\u5eff\u5f0c-\u5f0e\u5f10\u62fe\u634c\u67d2\u6f06\u7396\u767e\u8086\u842c\u8cae\u8cb3\u8d30\u9621\u9646\u964c\u9678\u96f6\uf96b\uf973\uf978\uf9b2\uf9d1\uf9d3\uf9fd\u{20001}\u{20064}\u{200e2}\u{20121}\u{2092a}\u{20983}\u{2098c}\u{2099c}\u{20aea}\u{20afd}\u{20b19}\u{22390}\u{22998}\u{23b1b}\u{2626d}\u{2f890}]/u;

const isAscii = (text: string) => !/[\u0080-\uffff]/.test(text);

/** True if there are characters and each is one of `kind`. */
const every = (kind: (character: string) => boolean) => (text: string) =>
  text !== '' && codePoints(text).every(kind);
const matches = (expression: RegExp) => every((character) => expression.test(character));

function hasCase(text: string, wanted: RegExp, others: readonly RegExp[]): boolean {
  let found = false;
  for (const character of text) {
    if (others.some((other) => other.test(character))) return false;
    found ||= wanted.test(character);
  }
  return found;
}

export const isLower = (text: string) => hasCase(text, LOWERCASE, [UPPERCASE, TITLECASE]);
export const isUpper = (text: string) => hasCase(text, UPPERCASE, [LOWERCASE, TITLECASE]);

const isCased = (character: string) =>
  LOWERCASE.test(character) || UPPERCASE.test(character) || TITLECASE.test(character);

function isTitle(text: string): boolean {
  let [found, inWord] = [false, false];
  for (const character of text) {
    const begins = UPPERCASE.test(character) || TITLECASE.test(character);
    if (begins ? inWord : !inWord && LOWERCASE.test(character)) return false;
    inWord = isCased(character);
    found ||= inWord;
  }
  return found;
}

function titled(character: string): string {
  return titleCase(character) ?? unsupported(`the title case of "${character}"`);
}

export function capitalize(text: string): string {
  const [first = ''] = text;
  // Lower-cases the whole text, because the form of a sigma depends on what precedes it.
  return titled(first) + text.toLowerCase().slice(first.toLowerCase().length);
}

function title(text: string): string {
  refuseSigma(text);
  let inWord = false;
  return Array.from(text, (character) => {
    const changed = inWord ? character.toLowerCase() : titled(character);
    inWord = isCased(character);
    return changed;
  }).join('');
}

function swapCase(text: string): string {
  refuseSigma(text);
  return Array.from(text, (character) => {
    if (UPPERCASE.test(character)) return character.toLowerCase();
    return LOWERCASE.test(character) ? character.toUpperCase() : character;
  }).join('');
}

function refuseSigma(text: string): void {
  if (text.includes('\u03a3'))
    unsupported('changing the case of single letters in a text with a capital sigma');
}

export function pad(
  text: string,
  width: Value | undefined,
  fill: Value | undefined,
  where: 'l' | 'r' | 'c',
): string {
  const filler = fill === undefined ? ' ' : textArgument(fill, 'The fill character');
  if (textLength(filler) !== 1) raise('The fill character must be exactly one character long');
  const wanted = intArgument(width, 'width');
  if (wanted > 1 << 26) unsupported('a text this long');
  const missing = Math.max(0, wanted - textLength(text));
  // If the width is odd, CPython puts the extra character on the left.
  const before = Math.floor(missing / 2) + (missing & wanted & 1);
  const left = { l: 0, r: missing, c: before }[where];
  return filler.repeat(left) + text + filler.repeat(missing - left);
}

function split(text: string, separator: Value | undefined, limit: Value | undefined): string[] {
  const most = limit === undefined ? -1 : intArgument(limit, 'maxsplit');
  const by = optionalText(separator, 'sep');
  if (by === '') raise('empty separator');
  const parts: string[] = [];
  let rest = by === undefined ? stripStart(text) : text;
  while (by !== undefined || rest !== '') {
    const at = by === undefined ? spaceIn(rest) : rest.indexOf(by);
    if (at === -1 || (most >= 0 && parts.length >= most)) break;
    parts.push(rest.slice(0, at));
    rest = by === undefined ? stripStart(rest.slice(at)) : rest.slice(at + by.length);
  }
  return by === undefined && rest === '' ? parts : [...parts, rest];
}

const spaceIn = (text: string) => {
  for (let i = 0; i < text.length; i++) if (isSpace(text[i]!)) return i;
  return -1;
};

function splitFromEnd(text: string, separator: Value | undefined, limit: Value | undefined): string[] {
  const most = limit === undefined ? -1 : intArgument(limit, 'maxsplit');
  const by = optionalText(separator, 'sep');
  if (by === '') raise('empty separator');
  const parts: string[] = [];
  let rest = by === undefined ? stripEnd(text) : text;
  while (by !== undefined || rest !== '') {
    const at = by === undefined ? lastSpaceIn(rest) : rest.lastIndexOf(by);
    if (at === -1 || (most >= 0 && parts.length >= most)) break;
    parts.unshift(rest.slice(at + (by?.length ?? 1)));
    rest = by === undefined ? stripEnd(rest.slice(0, at)) : rest.slice(0, at);
  }
  return by === undefined && rest === '' ? parts : [rest, ...parts];
}

const lastSpaceIn = (text: string) => {
  for (let i = text.length - 1; i >= 0; i--) if (isSpace(text[i]!)) return i;
  return -1;
};

export function replace(text: string, old: string, replacement: string, count: number): string {
  if (count < 0 && (old !== '' || isFlat(text))) return text.replaceAll(old, () => replacement);
  const parts = old === '' ? ['', ...codePoints(text), ''] : text.split(old);
  const limit = count < 0 ? parts.length : count;
  return parts.reduce((all, part, i) => all + (i <= limit ? replacement : old) + part);
}

/** The part of the text between `start` and `end`, and where it begins; undefined if `start` is beyond the text. */
function window(text: string, start: Value | undefined, end: Value | undefined) {
  const length = textLength(text);
  const from = start === undefined || start === null ? 0 : intArgument(start, 'slice indices');
  if (from > length) return undefined;
  const bounds = sliceBounds(length, start ?? null, end ?? null, null);
  if (bounds.stop < bounds.start) return undefined;
  return { part: subtext(text, bounds.start, bounds.stop), offset: bounds.start };
}

function find(text: string, last: boolean, [wanted, start, end]: Bound): number {
  const sought = textArgument(wanted, 'the text to find');
  const seen = window(text, start, end);
  if (seen === undefined) return -1;
  const unit = last ? seen.part.lastIndexOf(sought) : seen.part.indexOf(sought);
  return unit === -1 ? -1 : seen.offset + textLength(seen.part.slice(0, unit));
}

function found(text: string, last: boolean, bound: Bound): bigint {
  const at = find(text, last, bound);
  return at === -1 ? raise('substring not found') : BigInt(at);
}

function count(text: string, [wanted, start, end]: Bound): bigint {
  const sought = textArgument(wanted, 'the text to count');
  const seen = window(text, start, end);
  if (seen === undefined) return 0n;
  return BigInt(sought === '' ? textLength(seen.part) + 1 : seen.part.split(sought).length - 1);
}

function startsOrEnds(text: string, atEnd: boolean, [wanted, start, end]: Bound): boolean {
  const options = wanted instanceof Tuple ? wanted.items : [wanted ?? null];
  const texts = options.map((option) => textArgument(option, 'the first argument (or each of its items)'));
  const seen = window(text, start, end);
  return (
    seen !== undefined && texts.some((one) => (atEnd ? seen.part.endsWith(one) : seen.part.startsWith(one)))
  );
}

function partition(text: string, last: boolean, separator: Value | undefined): Tuple {
  const by = textArgument(separator, 'sep');
  if (by === '') raise('empty separator');
  const at = last ? text.lastIndexOf(by) : text.indexOf(by);
  if (at === -1) return new Tuple(last ? ['', '', text] : [text, '', '']);
  return new Tuple([text.slice(0, at), by, text.slice(at + by.length)]);
}

export function join(separator: string, items: Value): string {
  const texts = Array.from(iterate(items), (item, i) => {
    if (typeof item === 'string' || item instanceof Markup) return String(item);
    return raise(`sequence item ${i}: expected str instance, ${typeName(item)} found`);
  });
  return texts.join(separator);
}

function zeroFill(text: string, width: Value | undefined): string {
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  const digits = intArgument(width, 'width') - sign.length;
  if (digits > 1 << 26) unsupported('a text this long');
  return (
    sign + '0'.repeat(Math.max(0, digits - textLength(text.slice(sign.length)))) + text.slice(sign.length)
  );
}

function expandTabs(text: string, size: Value | undefined): string {
  const every = size === undefined ? 8 : intArgument(size, 'tabsize');
  let column = 0;
  return Array.from(text, (character) => {
    if (character === '\n' || character === '\r') column = -1;
    if (character !== '\t') {
      column++;
      return character;
    }
    const spaces = every > 0 ? every - (column % every) : 0;
    column += spaces;
    return ' '.repeat(spaces);
  }).join('');
}

const isPart = (value: Value | undefined) => numeric(value ?? null) !== undefined && truthy(value ?? null);

export const STRING_METHODS: ReadonlyMap<string, Method<string>> = new Map(
  Object.entries<Method<string>>({
    capitalize: method('', capitalize),
    casefold: method('', (text) => (isAscii(text) ? text.toLowerCase() : unsupported('casefold'))),
    center: method('width fillchar? /', (text, width, fill) => pad(text, width, fill, 'c')),
    count: method('sub start? end? /', (text, ...bound) => count(text, bound)),
    encode: method('encoding? errors?', () => unsupported('bytes')),
    endswith: method('suffix start? end? /', (text, ...bound) => startsOrEnds(text, true, bound)),
    expandtabs: method('tabsize?', expandTabs),
    find: method('sub start? end? /', (text, ...bound) => BigInt(find(text, false, bound))),
    index: method('sub start? end? /', (text, ...bound) => found(text, false, bound)),
    isalnum: method(
      '',
      every((one) => /[\p{L}\p{N}]/u.test(one)),
    ),
    isalpha: method('', matches(/\p{L}/u)),
    isascii: method('', (text) => isAscii(text)),
    isdecimal: method('', matches(/\p{Nd}/u)),
    isdigit: method('', matches(DIGIT)),
    isidentifier: method('', (text) => /^[\p{XID_Start}_]\p{XID_Continue}*$/u.test(text)),
    islower: method('', isLower),
    isnumeric: method(
      '',
      every((one) => /\p{N}/u.test(one) || NUMERIC_IDEOGRAPH.test(one)),
    ),
    isprintable: method('', (text) =>
      codePoints(text).every((one) => one === ' ' || !NOT_PRINTABLE.test(one)),
    ),
    isspace: method('', every(isSpace)),
    istitle: method('', isTitle),
    isupper: method('', isUpper),
    join: method('iterable /', (text, items) => join(text, items ?? null)),
    ljust: method('width fillchar? /', (text, width, fill) => pad(text, width, fill, 'l')),
    lower: method('', (text) => text.toLowerCase()),
    lstrip: method('chars? /', (text, chars) => stripStart(text, optionalText(chars, 'lstrip arg'))),
    maketrans: method('x y? z? /', () => unsupported('maketrans')),
    partition: method('sep /', (text, by) => partition(text, false, by)),
    removeprefix: method('prefix /', (text, prefix) => {
      const start = textArgument(prefix, 'prefix');
      return text.startsWith(start) ? text.slice(start.length) : text;
    }),
    removesuffix: method('suffix /', (text, suffix) => {
      const end = textArgument(suffix, 'suffix');
      return end !== '' && text.endsWith(end) ? text.slice(0, -end.length) : text;
    }),
    replace: method('old new count? /', (text, old, replacement, limit) =>
      replace(
        text,
        textArgument(old, 'replace() argument 1'),
        textArgument(replacement, 'replace() argument 2'),
        limit === undefined ? -1 : intArgument(limit, 'count'),
      ),
    ),
    rfind: method('sub start? end? /', (text, ...bound) => BigInt(find(text, true, bound))),
    rindex: method('sub start? end? /', (text, ...bound) => found(text, true, bound)),
    rjust: method('width fillchar? /', (text, width, fill) => pad(text, width, fill, 'r')),
    rpartition: method('sep /', (text, by) => partition(text, true, by)),
    rsplit: method('sep? maxsplit?', splitFromEnd),
    rstrip: method('chars? /', (text, chars) => stripEnd(text, optionalText(chars, 'rstrip arg'))),
    split: method('sep? maxsplit?', split),
    splitlines: method('keepends?', (text, keep) => splitLines(text, isPart(keep))),
    startswith: method('prefix start? end? /', (text, ...bound) => startsOrEnds(text, false, bound)),
    strip: method('chars? /', (text, chars) => {
      const characters = optionalText(chars, 'strip arg');
      return stripStart(stripEnd(text, characters), characters);
    }),
    swapcase: method('', swapCase),
    title: method('', title),
    translate: method('table /', () => unsupported('translate')),
    upper: method('', (text) => text.toUpperCase()),
    zfill: method('width /', zeroFill),
  }),
);
