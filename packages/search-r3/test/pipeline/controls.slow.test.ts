/** Fused vectors and controls of a tiny model: what must equal what, whatever the model says. */
import { Embedder } from 'search-r3/embed';
import {
  CONTROLS,
  controlTexts,
  pairedScores,
  RetrieverEvaluation,
  randomisationTest,
  scoreRankings,
} from 'search-r3/evaluate';
import { Model } from 'search-r3/model';
import { describeControls, evaluatePolicy } from 'search-r3/pipeline';
import { InputError } from 'search-r3/run';
import { expect, test } from 'vitest';
import { tinyPolicy } from '../cli/tiny.js';
import { tinyData } from './tiny-data.js';

const DATA = tinyData();
const [TRAIN, TEST] = [DATA.qrels.get('train')!, DATA.qrels.get('test')!];
const SIZES = { maxLength: 40, maxNewTokens: 7, seed: 3 };

test('controls are compared with what was reasoned, and the curve ends there', async () => {
  const model = Model.of(tinyPolicy(4));
  await using _ = model;
  const systems = ['direct', 'reasoned', 'fused', 'hybrid_fused'] as const;
  const found = await evaluatePolicy(model, DATA, TEST, { ...SIZES, systems, tuning: TRAIN, controls: true });
  const { rankings, controls, reasonedShare, weights } = found;
  const score = (name: 'direct' | 'reasoned' | 'fused') =>
    scoreRankings(TEST, rankings[name]!, ['ndcg@10'])['ndcg@10'];
  expect(controls).toMatchObject({ direct: score('direct').mean, reasoned: score('reasoned').mean });
  const paired = pairedScores(score('direct').perQuery, score('reasoned').perQuery);
  expect(controls!.p).toBe(randomisationTest(...paired, { seed: SIZES.seed }).p);
  expect(controls!.controls.map(({ control }) => control)).toEqual([...CONTROLS]);
  const gain = controls!.reasoned - controls!.direct;
  for (const { score: own, kept } of controls!.controls) {
    if (gain > 0) expect(kept).toBeCloseTo((own - controls!.direct) / gain, 10);
    else expect(kept).toBeNull();
  }
  // One of them anew, by the parts that the report is made of.
  const embedder = new Embedder(model);
  const retrieval = new RetrieverEvaluation(embedder, DATA, {
    maxLength: SIZES.maxLength,
    maxNewTokens: SIZES.maxNewTokens,
  });
  const ids = [...TEST.keys()];
  const reasonings = ids.map((id) => ({
    query: DATA.queries.get(id)!.text,
    reasoning: found.reasoned.get(id)!.reasoning!,
  }));
  const fillers = await model.tokenizer.encodeBatch(controlTexts('filler', reasonings, SIZES.seed));
  const vectors = await Promise.all(
    reasonings.map(({ query: text }, i) =>
      embedder.probe({ text, written: fillers[i]!.slice(0, 7), maxLength: 40, maxNewTokens: 7 }),
    ),
  );
  const again = scoreRankings(
    TEST,
    await retrieval.search(ids, Float32Array.from(vectors.flatMap((v) => [...v]))),
    ['ndcg@10'],
  )['ndcg@10'];
  const own = pairedScores(score('reasoned').perQuery, again.perQuery);
  expect(controls!.controls.find(({ control }) => control === 'filler')).toMatchObject({
    score: again.mean,
    p: randomisationTest(...own, { seed: SIZES.seed }).p,
  });
  await retrieval.dispose();
  // Seven tokens at most.
  expect(controls!.curve.map(({ tokens }) => tokens)).toEqual([0, 2, 4]);
  expect(reasonedShare).toBeGreaterThanOrEqual(0);
  expect(weights.hybrid_fused).toBeGreaterThanOrEqual(0);
  // The share was the best on training queries, so fused is what that share gives here.
  if (reasonedShare === 0) expect(rankings.fused).toEqual(rankings.direct);
  if (reasonedShare === 1) expect(rankings.fused).toEqual(rankings.reasoned);
  const text = describeControls(controls!);
  expect(text).toMatch(/^in place of the reasoning +ndcg@10 +of the gain +p\n/);
  expect(text.split('\n').filter((line) => line.startsWith('its first '))).toHaveLength(3);
});

test('without judgements to tune on, both vectors count alike', async () => {
  const model = Model.of(tinyPolicy(4));
  await using _ = model;
  const { reasonedShare } = await evaluatePolicy(model, DATA, TEST, { ...SIZES, systems: ['fused'] });
  expect(reasonedShare).toBe(0.5);
});

test('controls need both systems', async () => {
  const model = Model.of(tinyPolicy(4));
  await using _ = model;
  const run = evaluatePolicy(model, DATA, TEST, { ...SIZES, systems: ['direct'], controls: true });
  await expect(run).rejects.toThrow(InputError);
  await expect(run).rejects.toThrow(
    'controls: expected the systems direct and reasoned on two or more queries',
  );
});
