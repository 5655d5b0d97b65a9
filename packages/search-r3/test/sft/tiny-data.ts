/**
 * Five queries on eight documents: one query with two answers, one document that answers two, one query without negative,
 * one that is a document, and one with a document that is no negative of it.
 */
import type { SftData, TrainingQuery } from 'search-r3/sft';

export const DOCUMENTS = new Map([
  ['d1', 'food of bern'],
  ['d2', 'old trade in the river tower'],
  ['d3', 'dance in cork'],
  ['d4', 'new food'],
  ['d5', 'tower of ada where the river is old'],
  ['d6', 'who'],
  ['d7', 'trade of cork'],
  ['d8', 'in bern the new dance'],
]);

const query = (
  id: string,
  text: string,
  grades: Record<string, number>,
  positive: string,
): TrainingQuery => ({
  id,
  text,
  relevant: new Map(Object.entries(grades)),
  // One to draw from: what is drawn is known.
  positives: [positive],
});

export const QUERIES: TrainingQuery[] = [
  query('q1', 'where food of ada', { d1: 1, d4: 2 }, 'd1'),
  query('q2', 'trade', { d2: 1 }, 'd2'),
  { ...query('q3', 'who dance in the old tower', { d3: 1 }, 'd3'), own: 'd7' },
  query('q4', 'new food in bern', { d4: 1 }, 'd4'),
  { ...query('q5', 'river', { d5: 2, d2: 1 }, 'd5'), noNegatives: new Set(['d8']) },
];

const HARD = new Map([
  ['q1', 'd8'],
  ['q2', 'd7'],
  ['q3', 'd8'],
  ['q5', 'd6'],
]);

export const DATA: Omit<SftData, 'targets'> = {
  queries: QUERIES,
  document: (id) => DOCUMENTS.get(id) as string,
  negatives: ({ id }) => HARD.get(id),
};
