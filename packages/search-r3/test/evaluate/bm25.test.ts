import fc from 'fast-check';
import { Bm25Index, englishTerms } from 'search-r3/evaluate';
import { describe, expect, test } from 'vitest';

const words = (text: string) => text.split(' ').filter((word) => word !== '');

/** BM25 straight from its definition, document by document, in float64. */
function reference(texts: readonly string[], query: string, k1: number, b: number): number[] {
  const documents = texts.map(words);
  const average = documents.reduce((sum, terms) => sum + terms.length, 0) / documents.length;
  return documents.map((terms) => {
    let score = 0;
    for (const term of words(query)) {
      const containing = documents.filter((other) => other.includes(term)).length;
      const frequency = terms.filter((other) => other === term).length;
      if (frequency === 0) continue;
      const idf = Math.log(1 + (documents.length - containing + 0.5) / (containing + 0.5));
      const norm = k1 * (1 - b + (b * terms.length) / average);
      score += (idf * frequency * (k1 + 1)) / (frequency + norm);
    }
    return score;
  });
}

const build = (texts: readonly string[], options = {}) =>
  Bm25Index.build(
    texts.map((text, i) => ({ id: `d${i}`, text })),
    { terms: words, ...options },
  );

/** Scores by document, 0 for those not found. */
const scores = (index: Bm25Index, query: string) => {
  const found = new Map(index.search(query, 1000).map(({ id, score }) => [id, score]));
  return Array.from({ length: index.size }, (_, i) => found.get(`d${i}`) ?? 0);
};

describe('Bm25Index', () => {
  const texts = [
    'river bank river',
    'bank',
    '',
    'the old bank of the long long river by the old town',
    'town hall town square town',
    'constructor __proto__ toString 12 7',
  ];

  test.each([
    [0.9, 0.4],
    [1.2, 0.75],
    [0, 0],
    [2.5, 1],
  ])('equals the definition: k1 = %d, b = %d', (k1, b) => {
    const index = build(texts, { k1, b });
    for (const query of [
      'river',
      'bank river',
      'town town bank',
      '__proto__ 12 constructor',
      'river elsewhere',
    ]) {
      const expected = reference(texts, query, k1, b);
      expect(Math.max(...expected)).toBeGreaterThan(0.3);
      for (const [i, score] of scores(index, query).entries())
        expect(score).toBeCloseTo(expected[i] ?? -1, 9);
    }
  });

  test('equals the definition on random collections, with the defaults k1 = 0.9 and b = 0.4', () => {
    const text = fc
      .array(fc.constantFrom('a', 'b', 'c', 'd', 'e'), { maxLength: 9 })
      .map((list) => list.join(' '));
    fc.assert(
      fc.property(fc.array(text, { minLength: 1, maxLength: 8 }), text, (corpus, query) => {
        const expected = reference(corpus, query, 0.9, 0.4);
        for (const [i, score] of scores(build(corpus), query).entries()) {
          expect(score).toBeCloseTo(expected[i] ?? -1, 9);
        }
      }),
    );
  });

  test('collections of one, two and three documents', () => {
    // One document, one word: idf = ln(1 + 0.5 / 1.5), tf part = 1 as its length is the average.
    expect(build(['word']).search('word')).toEqual([
      { id: 'd0', score: expect.closeTo(Math.log(4 / 3), 10) },
    ]);
    expect(
      build(['word', 'other'])
        .search('word')
        .map(({ id }) => id),
    ).toEqual(['d0']);
    expect(
      build(['word other', 'other', 'word'])
        .search('word')
        .map(({ id }) => id),
    ).toEqual(['d2', 'd0']);
    expect(build(['', '']).search('word')).toEqual([]);
  });

  test('best first, at most k, equal scores by id descending', () => {
    const index = build(['x y', 'x z', 'x x', 'w', 'x v']);
    expect(index.search('x').map(({ id }) => id)).toEqual(['d2', 'd4', 'd1', 'd0']);
    expect(index.search('x', 2).map(({ id }) => id)).toEqual(['d2', 'd4']);
    expect(index.search('unknown')).toEqual([]);
    expect(index.search('')).toEqual([]);
  });

  test('titles are searched too, by words without their endings', () => {
    const index = Bm25Index.build([
      { id: 'a', title: 'Knitting', text: 'With wool.' },
      { id: 'b', text: 'The consistency of the wool.' },
    ]);
    expect(index.search('who knitted').map(({ id }) => id)).toEqual(['a']);
    expect(index.search('consistent?').map(({ id }) => id)).toEqual(['b']);
    expect(index.search('the of')).toEqual([]);
  });

  test('rank searches for many queries', () => {
    const index = build(['x y', 'x z', 'x x']);
    const queries = [
      { id: 'q1', text: 'x' },
      { id: 'q2', text: 'nothing' },
    ];
    const rankings = index.rank(queries, 2);
    expect([...rankings.keys()]).toEqual(['q1', 'q2']);
    expect([...(rankings.get('q1') ?? [])]).toEqual(index.search('x', 2).map(({ id, score }) => [id, score]));
    expect(rankings.get('q2')?.size).toBe(0);
    expect(index.rank(queries).get('q1')?.size).toBe(3);
  });

  test('bad corpora and options', () => {
    expect(() => build([])).toThrow('BM25 corpus: expected at least one document, found none');
    const twice = [
      { id: 'a', text: 'x' },
      { id: 'b', text: 'y' },
      { id: 'a', text: 'z' },
    ];
    expect(() => Bm25Index.build(twice)).toThrow('expected ids used once, found "a" twice');
    expect(() => build(['x'], { b: 1.5 })).toThrow(/BM25 options: b: expected/);
    expect(() => build(['x'], { k1: -1 })).toThrow(/BM25 options: k1: expected/);
    expect(() => build(['x'], { terms: 'words' })).toThrow(/BM25 options: terms: expected a function/);
    expect(() => build(['x'], { k: 1 })).toThrow(/unknown key "k"/);
  });
});

describe('englishTerms', () => {
  // snowballstem.org/algorithms/english/stemmer.html, sample vocabulary.
  test('stems as Porter 2 does', () => {
    expect(englishTerms()('Consigned consistency CONSOLATIONS knackeries, knightly knots')).toEqual([
      'consign',
      'consist',
      'consol',
      'knackeri',
      'knight',
      'knot',
    ]);
  });

  test('splits at what is neither letter nor digit, in any script, and drops stop words', () => {
    expect(englishTerms()('The β-blocker and IL-2 (№ 7), \uFF21\uFF22: naïve кошки')).toEqual([
      'β',
      'blocker',
      'il',
      '2',
      'no',
      '7',
      'ab',
      'naïv',
      'кошки',
    ]);
    expect(englishTerms()('to be or of it, the')).toEqual([]);
  });
});
