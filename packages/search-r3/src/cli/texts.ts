/** Texts from the command line, from a JSONL file or from stdin. */
import { documentText } from '../dataset/index.js';
import { parseJsonLine, readLines, stringField } from '../dataset/lines.js';
import { InputError } from '../run/errors.js';
import type { Output } from './output.js';

export interface SourcedText {
  id?: string;
  text: string;
  /** Where it came from, for errors. */
  source: string;
}

/** The arguments, else the rows of `file`, else the lines of stdin. @throws InputError where there are none. */
export async function readTexts(args: readonly string[], file?: string): Promise<SourcedText[]> {
  if (args.length > 0 && file !== undefined) {
    throw new InputError({ source: '--file', expected: 'texts or a file', found: 'both' });
  }
  const texts =
    args.length > 0
      ? args.map((text, i) => ({ text, source: `argument ${i + 1}` }))
      : file === undefined
        ? await readStdin()
        : await readRows(file);
  if (texts.length > 0) return texts;
  throw new InputError({ source: file ?? 'stdin', expected: 'at least one text', found: 'none' });
}

/** Words without quotes around them are texts of one word each: taken so, as each may be meant, but not silently. */
export function noteOfWords(args: readonly string[], output: Pick<Output, 'note'>): void {
  if (args.length < 2 || args.some((text) => /\s/.test(text.trim()))) return;
  output.note(
    `These are ${args.length} texts of one word each; a text of several words goes in quotes: ${JSON.stringify(args.join(' '))}`,
  );
}

async function readRows(path: string): Promise<SourcedText[]> {
  const texts: SourcedText[] = [];
  for await (const line of readLines(path)) {
    const row = parseJsonLine(line);
    const field = (name: string) =>
      row[name] == null ? undefined : stringField(row, name, line.source, 'allow-empty');
    const id = field('id') ?? field('_id');
    const title = field('title');
    const text = documentText({
      id: '',
      ...(title !== undefined && { title }),
      text: stringField(row, 'text', line.source, 'allow-empty'),
    });
    texts.push({ ...(id !== undefined && { id }), text, source: line.source });
  }
  return texts;
}

async function readStdin(): Promise<SourcedText[]> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  const lines = Buffer.concat(chunks).toString('utf8').split(/\r?\n/);
  // What follows the last line break is no line. A blank line is one: results must stand where their lines do.
  if (lines.at(-1) === '') lines.pop();
  return lines.map((text, i) => ({ text, source: `stdin:${i + 1}` }));
}
