/** Documents, and what filters must accept of them, for `store-contract.ts`. */
import type { Filter, IndexedDocument } from 'search-r3/vectors';

/** Documents for filters: lists, nesting, types, nothing and null. */
export const LIBRARY: readonly IndexedDocument[] = [
  { id: 'a', title: 'Bread', text: 'of Lyon', year: 1999, tags: ['x', 'y'], open: true },
  { id: 'b', text: 'soup', year: 2020, tags: ['y'], metadata: { url: 'b.org', size: 3 } },
  { id: 'c', text: 'line\u2028separators, \r\n ends', year: 2021.5, tags: [], date: '2021-06-01' },
  { id: 'd', title: '', text: '', year: '2020', open: false, date: '2022-01-31', scores: [1, 9] },
  { id: 'e\n"', text: '\u{1f980}', year: null, metadata: { url: null, deep: { z: 1 } }, ends: '\ufb01' },
  { id: 'f', text: 'last', year: -3, tags: 'x', open: true, scores: [4], ends: '\u{1f980}' },
];

/** Filters and the documents they accept. */
export const FILTERS: readonly (readonly [Filter, string])[] = [
  [{}, 'abcdef'],
  [{ year: 2020 }, 'b'],
  [{ year: '2020' }, 'd'],
  [{ open: true }, 'af'],
  [{ open: false }, 'd'],
  [{ title: 'Bread' }, 'a'],
  [{ id: { $in: ['f', 'b', 'unknown'] } }, 'bf'],
  // One of the elements of a list; a single value is a list of one.
  [{ tags: 'x' }, 'af'],
  [{ tags: { $in: ['y', 'z'] } }, 'ab'],
  [{ tags: { $ne: 'x' } }, 'bcde'],
  [{ tags: { $nin: ['x', 'y'] } }, 'cde'],
  [{ year: { $gt: 1999 } }, 'bc'],
  [{ year: { $gte: 1999, $lt: 2021 } }, 'ab'],
  [{ year: { $lte: -3 } }, 'f'],
  [{ year: { $ne: 2020 } }, 'acdef'],
  [{ year: { $lt: '3' } }, 'd'],
  [{ date: { $gte: '2021-06-01' } }, 'cd'],
  [{ date: { $gt: '2021-06-01', $lt: '2022-02' } }, 'd'],
  // One element must fulfil all comparisons: neither 1 nor 9 is between.
  [{ scores: { $gt: 2, $lt: 8 } }, 'f'],
  // By code point, U+FB01 comes before U+1F980; in UTF-16 it does not.
  [{ ends: { $lt: '\u{1f980}' } }, 'e'],
  [{ year: { $exists: true } }, 'abcdf'],
  [{ year: { $exists: false } }, 'e'],
  // An empty list has no value.
  [{ tags: { $exists: true } }, 'abf'],
  [{ metadata: { $exists: true } }, ''],
  [{ 'metadata.url': 'b.org' }, 'b'],
  [{ 'metadata.url': { $exists: true } }, 'b'],
  [{ 'metadata.deep.z': { $gte: 1 } }, 'e'],
  [{ constructor: { $exists: true } }, ''],
  [{ nothing: { $ne: 1 } }, 'abcdef'],
  [{ open: true, year: { $gt: 0 } }, 'a'],
  [{ $and: [{ tags: 'y' }, { year: { $gt: 2000 } }] }, 'b'],
  [{ $or: [{ year: 2020 }, { open: false }, { tags: 'nothing' }] }, 'bd'],
  [{ $not: { year: { $gt: 0 } } }, 'def'],
  [{ $not: { open: true, year: { $gt: 0 } } }, 'bcdef'],
  [{ tags: { $exists: true }, $or: [{ year: { $lt: 0 } }, { $not: { tags: 'x' } }] }, 'bf'],
];

export const REFUSED_FILTERS: readonly (readonly [unknown, RegExp])[] = [
  ['year', /filter/],
  [{ year: null }, /year/],
  [{ year: [1, 2] }, /year/],
  [{ year: {} }, /year: expected at least one operator/],
  [{ year: { $gt: true } }, /year/],
  [{ year: { $regex: 'x' } }, /year\.\$regex/],
  [{ tags: { $in: [] } }, /tags\.\$in/],
  [{ $and: [] }, /\$and/],
  [{ $nor: [{ year: 1 }] }, /\$nor/],
  [{ $and: [{ text: 'soup' }] }, /text/],
];
