/**
 * `strftime_now`. An embedding must not depend on the day it is computed, so now is always the date that Llama 3's
 * template falls back to: Friday, 26 July 2024, at midnight.
 */
import { raise, unsupported } from './errors.js';

const WEEKDAY = 'Friday';
const MONTH = 'July';

/** The text of each directive in the C locale, and the width and fill character of GNU's padding flags. */
const DIRECTIVES: Readonly<Record<string, { text: string; width?: number; fill?: string }>> = {
  a: { text: WEEKDAY.slice(0, 3) },
  A: { text: WEEKDAY },
  b: { text: MONTH.slice(0, 3) },
  B: { text: MONTH },
  c: { text: 'Fri Jul 26 00:00:00 2024' },
  C: { text: '20', width: 2, fill: '0' },
  d: { text: '26', width: 2, fill: '0' },
  D: { text: '07/26/24' },
  e: { text: '26', width: 2, fill: ' ' },
  f: { text: '000000' },
  F: { text: '2024-07-26' },
  g: { text: '24', width: 2, fill: '0' },
  G: { text: '2024' },
  h: { text: MONTH.slice(0, 3) },
  H: { text: '0', width: 2, fill: '0' },
  I: { text: '12', width: 2, fill: '0' },
  j: { text: '208', width: 3, fill: '0' },
  k: { text: '0', width: 2, fill: ' ' },
  l: { text: '12', width: 2, fill: ' ' },
  m: { text: '7', width: 2, fill: '0' },
  M: { text: '0', width: 2, fill: '0' },
  n: { text: '\n' },
  p: { text: 'AM' },
  P: { text: 'am' },
  r: { text: '12:00:00 AM' },
  R: { text: '00:00' },
  s: { text: '1721952000' },
  S: { text: '0', width: 2, fill: '0' },
  t: { text: '\t' },
  T: { text: '00:00:00' },
  u: { text: '5' },
  U: { text: '29', width: 2, fill: '0' },
  V: { text: '30', width: 2, fill: '0' },
  w: { text: '5' },
  W: { text: '30', width: 2, fill: '0' },
  x: { text: '07/26/24' },
  X: { text: '00:00:00' },
  y: { text: '24', width: 2, fill: '0' },
  Y: { text: '2024' },
  // Python's datetime has no time zone here.
  z: { text: '' },
  Z: { text: '' },
  '%': { text: '%' },
};

const FILLS: Readonly<Record<string, string>> = { '0': '0', _: ' ', '-': '' };

/** `datetime.strftime` of that instant. */
export function strftime(format: string): string {
  if (format.includes('\0')) raise('embedded null character');
  return format.replace(/%([-_0^]?)(.?)/gsu, (whole, flag: string, letter: string) => {
    if (whole === '%') return whole;
    const directive = DIRECTIVES[letter];
    if (directive === undefined || (flag !== '' && 'fP'.includes(letter))) {
      return unsupported(`the directive "${whole}" of strftime`);
    }
    const { width = 0, fill = '0', text } = directive;
    const filler = FILLS[flag] ?? fill;
    const padded = filler === '' ? text : text.padStart(width, filler);
    return flag === '^' ? padded.toUpperCase() : padded;
  });
}
