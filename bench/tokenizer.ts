/** Tokenizing a corpus: texts one at a time against batches, and its share of the time an index takes. */
import { join } from 'node:path';
import { directPrompts, initialiseWeights, newConfig } from 'search-r3/checkpoint';
import { documentText, loadCorpus } from 'search-r3/dataset';
import { Embedder } from 'search-r3/embed';
import { Model, makePolicy } from 'search-r3/model';
import { trainByteLevelBpe } from 'search-r3/tokenizer';
import type { BenchmarkOptions, BenchmarkResult } from './lib/benchmark.js';
import { scifactFolder } from './lib/paths.js';
import { interleaved, rounded } from './lib/stats.js';

export const description =
  'tokenizing SciFact: batches against single texts, and its share of an indexing run';

const MAX_TOKENS = 160;

export async function run({ quick, log }: BenchmarkOptions): Promise<BenchmarkResult> {
  const corpus = await loadCorpus(join(scifactFolder(), 'corpus.jsonl'));
  const texts = corpus.map(documentText).slice(0, quick ? 1000 : undefined);
  log('learning a vocabulary of 8,192 tokens');
  const tokenizer = await trainByteLevelBpe(texts, { vocabSize: 8192 });
  const tokens = (await tokenizer.encodeBatch(texts)).reduce((total, ids) => total + ids.length, 0);
  const rate = async (work: () => Promise<unknown>) => {
    const started = performance.now();
    await work();
    return (tokens * 1000) / (performance.now() - started);
  };
  const encoding = await interleaved({
    rounds: quick ? 3 : 8,
    ours: () => rate(() => tokenizer.encodeBatch(texts)),
    theirs: () =>
      rate(async () => {
        for (const text of texts) await tokenizer.encode(text);
      }),
    log,
  });

  // The smallest model that anyone would index with, so the largest share.
  const config = newConfig({
    vocabSize: tokenizer.vocabSize,
    hiddenSize: 256,
    intermediateSize: 512,
    layers: 2,
    heads: 8,
    maxPositions: 256,
  });
  const policy = makePolicy({ config, weights: initialiseWeights(config, 0), tokenizer });
  const timed = async (work: () => Promise<unknown>) => {
    const started = performance.now();
    await work();
    return (performance.now() - started) / 1000;
  };
  const prompts = await timed(() =>
    directPrompts(policy.tokenizer, policy.prompts, texts, 'document', { maxTokens: MAX_TOKENS }),
  );
  const embedder = new Embedder(Model.of(policy));
  log('embedding the corpus');
  const index = await timed(() => embedder.embed(texts, { role: 'document', maxLength: MAX_TOKENS }));
  await embedder.model.dispose();
  return {
    figures: rounded({
      batch: encoding.ours,
      single: encoding.theirs,
      ratio: encoding.ratio,
      promptSeconds: prompts,
      indexSeconds: index,
      share: prompts / index,
    }),
    sizes: { documents: texts.length, tokens, maxTokens: MAX_TOKENS, model: '2 layers of 256' },
    seeds: [0],
  };
}
