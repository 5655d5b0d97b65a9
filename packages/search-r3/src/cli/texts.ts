/** Reads texts from the command line, from a JSONL file or from stdin. */
import { documentText } from '../dataset/index.js';
import { idText, parseJsonLine, readLines, stringField } from '../dataset/lines.js';
import { InputError } from '../run/errors.js';
import type { Output } from './output.js';

export interface SourcedText {
  id?: string;
  text: string;
  /** Where it came from, for errors. */
  source: string;
}

/** The value of `--file` that reads JSONL from stdin. */
const STDIN = '-';

/**
 * Returns the arguments, or else the rows of `file`, or else the lines of stdin. Notes input that may be a mistake.
 * @throws InputError if there is no text.
 */
export async function readTexts(
  args: readonly string[],
  file: string | undefined,
  output: Pick<Output, 'note'>,
): Promise<SourcedText[]> {
  if (args.length > 0 && file !== undefined) {
    throw new InputError({ source: '--file', expected: 'texts or a file', found: 'both' });
  }
  if (args.length > 0) {
    noteOfWords(args, output);
    return args.map((text, i) => ({ text, source: `argument ${i + 1}` }));
  }
  const texts = file === undefined ? await readStdin(output) : await readRows(file);
  if (texts.length > 0) return texts;
  const source = file === undefined || file === STDIN ? 'stdin' : file;
  throw new InputError({ source, expected: 'at least one text', found: 'none' });
}

/** Notes that every argument is a single word: the user may have forgotten the quotes. */
function noteOfWords(args: readonly string[], output: Pick<Output, 'note'>): void {
  if (args.length < 2 || args.some((text) => /\s/.test(text.trim()))) return;
  output.note(
    `Reading ${args.length} texts of one word each. If you meant one text, quote it: ${JSON.stringify(args.join(' '))}`,
  );
}

async function readRows(path: string): Promise<SourcedText[]> {
  const texts: SourcedText[] = [];
  for await (const line of path === STDIN ? readLines('stdin', process.stdin) : readLines(path)) {
    const row = parseJsonLine(line);
    const field = (name: string) =>
      row[name] == null ? undefined : stringField(row, name, line.source, 'allow-empty');
    const id = idOf(row, line.source);
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

/** A row of a collection has its id in `_id`, whatever `id` is. */
function idOf(row: Record<string, unknown>, source: string): string | undefined {
  const name = row._id == null ? 'id' : '_id';
  if (row[name] == null) return undefined;
  return stringField({ [name]: idText(row[name]) }, name, source, 'allow-empty');
}

async function readStdin(output: Pick<Output, 'note'>): Promise<SourcedText[]> {
  if (process.stdin.isTTY)
    output.note('Reading texts from the terminal, one per line; press Ctrl-D to finish');
  const texts: SourcedText[] = [];
  for await (const line of readLines('stdin', process.stdin)) texts.push(line);
  if (texts.length > 0 && texts.every(({ text }) => isRow(text))) {
    output.note(
      `Every line of stdin is a JSON object with a text. Each line is used as plain text; to read JSONL, use --file ${STDIN}`,
    );
  }
  return texts;
}

/** Whether a line is a row of JSONL as `--file` expects it. */
function isRow(line: string): boolean {
  try {
    const row = JSON.parse(line) as { text?: unknown } | null;
    return typeof row?.text === 'string';
  } catch {
    return false;
  }
}
