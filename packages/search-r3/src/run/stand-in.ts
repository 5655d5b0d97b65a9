/** Placeholders for files, as left behind by an incomplete clone or a failed download. */
import { InputError } from './errors.js';

/** The first line of every Git LFS pointer (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md). */
const POINTER = /^version https:\/\/(?:git-lfs|hawser)\.github\.com\/spec\/v\d/;
/** First bytes, as Latin-1 and as UTF-8, which reads those above 0x7f as U+FFFD. */
const GZIP = ['\u001f\u008b', '\u001f\ufffd'];
const UTF16 = ['\u00ff\u00fe', '\u00fe\u00ff', '\ufffd\ufffd'];
const HTML = /^\s*<(?:!doctype\s+html|html)\b/i;

export interface StandIn {
  /** For the "found" part of an error. */
  found: string;
  remedy: string;
}

/** Recognises a Git LFS pointer by the start of a file. */
export function lfsPointer(head: string): StandIn | undefined {
  if (!POINTER.test(head)) return undefined;
  const size = /^size (\d+)$/m.exec(head)?.[1];
  const stands = size === undefined ? '' : ` to a file of ${Number(size).toLocaleString('en-US')} bytes`;
  return {
    found: `a Git LFS pointer${stands}`,
    remedy: 'Fetch the file itself: run "git lfs install" and "git lfs pull" in its folder.',
  };
}

/** Recognises by the start of a file, as Latin-1 or UTF-8, text that is packed or in another encoding. */
function encodedText(head: string): StandIn | undefined {
  const begins = (start: string) => head.startsWith(start);
  if (GZIP.some(begins)) return { found: 'a gzip file', remedy: 'Unpack it first.' };
  if (UTF16.some(begins)) return { found: 'text in UTF-16', remedy: 'Save it as UTF-8.' };
  return undefined;
}

/** Recognises a saved HTML page by the start of a file. */
export function htmlPage(head: string): StandIn | undefined {
  if (!HTML.test(head)) return undefined;
  const remedy = 'A download saved an error or login page in its place: fetch the file again.';
  return { found: 'an HTML page', remedy };
}

/** Recognises by the start of a file what is never valid content. */
export function standIn(head: string): StandIn | undefined {
  return htmlPage(head) ?? lfsPointer(head) ?? encodedText(head);
}

/** @throws InputError where the file at `path`, which begins with `head`, is a Git LFS pointer, packed or in UTF-16. */
export function refuseStandIn(path: string, head: string): void {
  const other = lfsPointer(head) ?? encodedText(head);
  if (other !== undefined) throw new InputError({ source: path, expected: 'the file itself', ...other });
}
