/**
 * Files of judgements, one per line: BEIR's three columns (query id, document id, grade) or trec_eval's four (query id,
 * iteration, document id, grade). Tabs separate the fields; in a line without tabs, spaces do.
 */
import { InputError } from '../run/errors.js';
import { htmlPage } from '../run/stand-in.js';
import { describeValue, integerField, type Line, readLines } from './lines.js';
import type { Qrels } from './types.js';

const HEADER = ['query-id', 'corpus-id', 'score'] as const;
const COLUMNS = {
  3: `three fields separated by tabs: ${HEADER.join(', ')}`,
  4: 'four fields: query id, iteration, document id, grade',
};
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** What judgements may name. */
export interface KnownIds {
  queries: ReadonlyMap<string, unknown>;
  documents: ReadonlySet<string>;
  /** Judgements may also name other ids. Default false. */
  allowMissing?: boolean;
}

/**
 * Reads a `qrels/<split>.tsv`. A first line that is not a judgement is skipped as the header, as in BEIR. A judgement
 * has three or four fields and ends with a number. A line that names a query and a document of `known` is never a
 * header. Columns beyond the first three that the header names are skipped, as in BEIR.
 * @param known the ids that judgements may name. Default: any.
 * @throws InputError if another line is not a judgement, or the file has none.
 */
export async function loadBeirQrels(path: string, known?: KnownIds): Promise<Qrels> {
  const qrels: Qrels = new Map();
  let header: string[] | undefined;
  let first = true;
  let columns: 3 | 4 | undefined;
  for await (const line of readLines(path)) {
    const fields = fieldsOf(line.text);
    if (first) {
      first = false;
      const page = htmlPage(line.text);
      if (page !== undefined) throw new InputError({ source: line.source, expected: 'judgements', ...page });
      if (isHeader(fields, known)) {
        header = fields;
        continue;
      }
    }
    columns ??= columnsOf(fields, header, known);
    const further = columns === 3 && NUMBER.test(fields[2] ?? '') && fields.length <= (header?.length ?? 0);
    const judged = further ? fields.slice(0, 3) : fields;
    const { query, document, grade: written } = judgementOf(line, judged, columns);
    const grade = integerField(written, 'score', line.source);
    if (known !== undefined && !known.allowMissing) {
      if (!known.queries.has(query)) throw missing(line.source, 'query-id', 'queries.jsonl', query);
      if (!known.documents.has(document)) throw missing(line.source, 'corpus-id', 'corpus.jsonl', document);
    }
    addJudgement(qrels, query, document, grade, line.source);
  }
  refuseUnjudged(qrels, path);
  return qrels;
}

/** Splits a line as a CSV reader does: double quotes around a field are removed. */
function fieldsOf(text: string): string[] {
  if (!text.includes('\t')) return text.trim().split(/\s+/);
  const fields = text.split('\t').map((field) => {
    const quoted = /^"(.*)"$/s.exec(field)?.[1];
    return quoted === undefined ? field : quoted.replaceAll('""', '"');
  });
  // The line ended with a tab.
  if (fields.length > 3 && fields.at(-1)?.trim() === '') fields.pop();
  return [...fields.slice(0, -1), (fields.at(-1) as string).trim()];
}

/** trec_eval's four columns, unless a header names a fourth column and the second holds a document. */
function columnsOf(
  fields: readonly string[],
  header: readonly string[] | undefined,
  known?: KnownIds,
): 3 | 4 {
  const [query = '', document = ''] = fields;
  const isBeir = header !== undefined && known?.queries.has(query) && known.documents.has(document);
  return fields.length === 4 && NUMBER.test(fields[3] as string) && !isBeir ? 4 : 3;
}

function isHeader(fields: readonly string[], known: KnownIds | undefined): boolean {
  const [query, ...others] = fields as [string, ...string[]];
  if (others.length >= 2 && others.length <= 3 && NUMBER.test(others.at(-1) as string)) return false;
  return !(known?.queries.has(query) && others.some((field) => known.documents.has(field)));
}

function judgementOf({ text, source }: Line, fields: readonly string[], columns: 3 | 4) {
  const [query, document, grade] = columns === 3 ? fields : [fields[0], fields[2], fields[3]];
  if (!query || !document || grade === undefined || fields.length !== columns) {
    throw new InputError({ source, expected: COLUMNS[columns], found: describeValue(text) });
  }
  return { query, document, grade };
}

function missing(source: string, field: string, file: string, id: string): InputError {
  return new InputError({
    source,
    field,
    expected: `an id that is in ${file}`,
    found: describeValue(id),
    remedy:
      'With allowMissing (--allow-missing) training leaves such judgements out, and evaluation scores them as trec_eval does.',
  });
}

/** Rejects a file without judgements here, because an evaluation could not say which file is empty. */
export function refuseUnjudged(qrels: Qrels, source: string): void {
  if ([...qrels.values()].some((judgements) => judgements.size > 0)) return;
  throw new InputError({ source, expected: 'at least one judgement', found: 'none' });
}

/** Adds one judgement to `qrels`. @throws InputError if the pair has a judgement already. */
export function addJudgement(
  qrels: Qrels,
  query: string,
  document: string,
  grade: number,
  source: string,
): void {
  let judgements = qrels.get(query);
  if (judgements === undefined) {
    judgements = new Map();
    qrels.set(query, judgements);
  }
  if (judgements.has(document)) {
    const found = `a second one for query "${query}" and document "${document}"`;
    throw new InputError({ source, expected: 'one judgement per query and document', found });
  }
  judgements.set(document, grade);
}

/** The lines of a `qrels/<split>.tsv`. */
export function* qrelsLines(qrels: Qrels): Generator<string> {
  yield HEADER.join('\t');
  for (const [query, judgements] of qrels) {
    for (const [document, grade] of judgements) yield `${quoted(query)}\t${quoted(document)}\t${grade}`;
  }
}

/** Quotes an id that starts with a double quote, because a CSV reader would take it for a quoted one. */
const quoted = (id: string): string => (id.startsWith('"') ? `"${id.replaceAll('"', '""')}"` : id);
