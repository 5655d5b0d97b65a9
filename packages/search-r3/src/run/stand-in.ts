/** Placeholders for files, as left behind by an incomplete clone or a failed download. */
import { InputError } from './errors.js';

/** The first line of every Git LFS pointer (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md). */
const POINTER = /^version https:\/\/(?:git-lfs|hawser)\.github\.com\/spec\/v\d/;
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

/** Recognises content that is never valid by the start of a file: a Git LFS pointer or a saved HTML page. */
export function standIn(head: string): StandIn | undefined {
  if (HTML.test(head)) {
    const remedy = 'A download saved an error or login page in its place: fetch the file again.';
    return { found: 'an HTML page', remedy };
  }
  return lfsPointer(head);
}

/** @throws InputError if the file at `path`, which begins with `head`, is a Git LFS pointer. */
export function refusePointer(path: string, head: string): void {
  const pointer = lfsPointer(head);
  if (pointer !== undefined) throw new InputError({ source: path, expected: 'the file itself', ...pointer });
}
