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

/** As `--file`: rows of JSONL, from stdin. */
const STDIN = '-';

/**
 * The arguments, else the rows of `file`, else the lines of stdin; what may be meant otherwise is noted.
 * @throws InputError where there are none.
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

/** Words without quotes around them are texts of one word each: taken so, as each may be meant, but not silently. */
function noteOfWords(args: readonly string[], output: Pick<Output, 'note'>): void {
  if (args.length < 2 || args.some((text) => /\s/.test(text.trim()))) return;
  output.note(
    `These are ${args.length} texts of one word each; a text of several words goes in quotes: ${JSON.stringify(args.join(' '))}`,
  );
}

async function readRows(path: string): Promise<SourcedText[]> {
  const texts: SourcedText[] = [];
  for await (const line of path === STDIN ? readLines('stdin', process.stdin) : readLines(path)) {
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

async function readStdin(output: Pick<Output, 'note'>): Promise<SourcedText[]> {
  if (process.stdin.isTTY) output.note('Reading from the terminal, one text a line, to Ctrl-D');
  const texts: SourcedText[] = [];
  for await (const line of readLines('stdin', process.stdin)) texts.push(line);
  if (texts.length > 0 && texts.every(({ text }) => isRow(text))) {
    output.note(
      `Every line of stdin is a JSON object with a text, and is taken as a text as it stands; --file ${STDIN} reads them as those of a file`,
    );
  }
  return texts;
}

/** Whether a line is one of JSONL, as `--file` takes it. */
function isRow(line: string): boolean {
  try {
    const row = JSON.parse(line) as { text?: unknown } | null;
    return typeof row?.text === 'string';
  } catch {
    return false;
  }
}
