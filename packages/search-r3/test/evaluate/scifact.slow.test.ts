import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { loadBeir } from 'search-r3/dataset';
import { Bm25Index, evaluateRankings } from 'search-r3/evaluate';
import { expect, test } from 'vitest';

const folder = fileURLToPath(new URL('../../../../../shared/data/scifact', import.meta.url));

// Published for SciFact (test, nDCG@10): 0.665 by BEIR (two fields), 0.679 flat and stemmed with k1 0.9, b 0.4 (Anserini).
test.skipIf(!existsSync(folder))(
  'BM25 on SciFact has the published nDCG@10 (skipped where ../shared/data/scifact is missing)',
  { timeout: 30_000 },
  async () => {
    const { corpus, queries, qrels } = await loadBeir(folder);
    expect(corpus.length).toBe(5183);
    const judgements = (split: string) =>
      [...(qrels.get(split)?.values() ?? [])].reduce((sum, judged) => sum + judged.size, 0);
    expect([qrels.get('train')?.size, judgements('train')]).toEqual([809, 919]);
    expect([qrels.get('test')?.size, judgements('test')]).toEqual([300, 339]);

    const judged = qrels.get('test') ?? new Map();
    const asked = [...queries.values()].filter(({ id }) => judged.has(id));
    const bm25 = Bm25Index.build(corpus).rank(asked, 100);
    const { systems } = evaluateRankings(judged, { bm25 });
    const ndcg = systems[0]?.scores['ndcg@10'];
    expect(ndcg?.mean).toBeGreaterThanOrEqual(0.66);
    expect(ndcg?.mean).toBeCloseTo(0.678772034, 9);
    expect(ndcg?.interval.low).toBeGreaterThan(0.62);
    expect(ndcg?.interval.high).toBeLessThan(0.74);
  },
);
