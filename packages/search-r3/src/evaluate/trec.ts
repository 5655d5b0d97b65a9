/**
 * TREC run and qrels files, as trec_eval reads them (get_trec_results.c, get_qrels.c). White space separates fields,
 * and lines that start with `#` are comments. The scores of a run decide its order; the rank column is ignored.
 */

import { describeValue, integerField, type Line, readLines } from '../dataset/lines.js';
import { addJudgement, refuseUnjudged } from '../dataset/qrels.js';
import type { Qrels, Rankings } from '../dataset/types.js';
import { InputError } from '../run/errors.js';
import { writeLinesAtomic } from '../run/files.js';
import { rankDocuments } from './ranking.js';

export interface TrecRun {
  /** The name of the run, from the last line of the file. */
  tag: string;
  rankings: Rankings;
}

/** Reads a run: `query Q0 document rank score tag`. @throws InputError naming file, line and field. */
export async function loadTrecRun(path: string): Promise<TrecRun> {
  const rankings: Rankings = new Map();
  let tag = '';
  for await (const line of readLines(path)) {
    if (line.text.startsWith('#')) continue;
    // Like trec_eval, ignore anything after the tag.
    const [query = '', , document = '', , score = '', name = ''] = fields(
      line,
      'query Q0 document rank score tag',
      [6, Infinity],
    );
    const value = Number(score);
    if (!Number.isFinite(value)) {
      throw new InputError({
        source: line.source,
        field: 'score',
        expected: 'a number',
        found: describeValue(score),
      });
    }
    const ranking = rankings.get(query) ?? new Map<string, number>();
    if (ranking.has(document)) {
      const found = `"${document}" a second time for query "${query}"`;
      throw new InputError({
        source: line.source,
        field: 'document',
        expected: 'a document once per query',
        found,
      });
    }
    rankings.set(query, ranking.set(document, value));
    tag = name;
  }
  if (rankings.size === 0)
    throw new InputError({ source: path, expected: 'at least one ranking', found: 'none' });
  return { tag, rankings };
}

/** Writes a run, best document first; scores keep their full precision. Queries without documents have no line. */
export async function saveTrecRun(path: string, { tag, rankings }: TrecRun): Promise<void> {
  checkWord(tag, 'tag');
  await writeLinesAtomic(path, runLines(tag, rankings));
}

function* runLines(tag: string, rankings: Rankings): Generator<string> {
  for (const [query, scores] of rankings) {
    checkWord(query, 'query id');
    for (const [i, { id, score }] of rankDocuments(scores).entries()) {
      checkWord(id, 'document id');
      if (!Number.isFinite(score)) {
        const field = `query "${query}", document "${id}"`;
        throw new InputError({ source: 'rankings', field, expected: 'a finite score', found: String(score) });
      }
      yield `${query} Q0 ${id} ${i + 1} ${score} ${tag}`;
    }
  }
}

/** Reads judgements: `query iteration document grade`. @throws InputError naming file, line and field. */
export async function loadTrecQrels(path: string): Promise<Qrels> {
  const qrels: Qrels = new Map();
  for await (const line of readLines(path)) {
    if (line.text.startsWith('#')) continue;
    const [query = '', , document = '', grade = ''] = fields(line, 'query iteration document grade', [4, 4]);
    addJudgement(qrels, query, document, integerField(grade, 'grade', line.source), line.source);
  }
  refuseUnjudged(qrels, path);
  return qrels;
}

/** Writes judgements, in their order. */
export function saveTrecQrels(path: string, qrels: Qrels): Promise<void> {
  return writeLinesAtomic(path, qrelsLines(qrels));
}

function* qrelsLines(qrels: Qrels): Generator<string> {
  for (const [query, judgements] of qrels) {
    checkWord(query, 'query id');
    for (const [document, grade] of judgements) {
      checkWord(document, 'document id');
      yield `${query} 0 ${document} ${grade}`;
    }
  }
}

function fields(line: Line, names: string, [least, most]: [number, number]): string[] {
  const found = line.text.trim().split(/\s+/);
  if (found.length >= least && found.length <= most) return found;
  throw new InputError({
    source: line.source,
    expected: `the fields ${names}, separated by white space`,
    found: describeValue(line.text),
  });
}

/** Rejects ids that could not be read again: white space separates fields, and `#` starts a comment. */
function checkWord(text: string, field: string): void {
  if (/^[^\s#]\S*$/.test(text)) return;
  const expected = 'a word without white space that does not start with #';
  throw new InputError({ source: 'TREC file', field, expected, found: describeValue(text) });
}
