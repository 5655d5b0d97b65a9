/**
 * One step of stage 1 of ours for the `real` benchmark, in its own process so that its memory can be measured. Arguments: a
 * model with random weights, the number of threads, the number of queries. Answers each line on stdin with a `ShapeStep`.
 * The texts are letters: what a random model reads does not matter, only how long it is.
 */
import { createInterface } from 'node:readline';
import { VERSION } from 'search-r3';
import { presetFormat } from 'search-r3/checkpoint';
import { Model } from 'search-r3/model';
import { SftTrainer, sftOptionsSchema, type TrainingQuery } from 'search-r3/sft';
import { peakMemoryMb } from './machine.js';
import type { ShapeStep } from './real-shapes.js';
import { ADAPTER, MAX_LENGTH, OPTIMIZATION } from './real-training-inputs.js';

/** Of a reasoning target. */
const TARGET_TOKENS = 24;
/** Bytes of a text: more than `MAX_LENGTH` tokens for a document, fewer for a query. */
const BYTES = { query: 40, document: 600 };

const [path, threads, count] = process.argv.slice(2);
const model = await Model.loadTrainable(path, {
  precision: 'int8',
  threads: Number(threads),
  recorded: presetFormat('search-r3'),
  adapter: ADAPTER,
});
const letters = (seed: number, length: number) =>
  Array.from({ length }, (_, i) => String.fromCharCode(97 + ((seed * 7919 + i * 104_729 + i * i) % 26))).join(
    '',
  );
const queries: TrainingQuery[] = Array.from({ length: Number(count) }, (_, i) => ({
  id: String(i),
  text: letters(i, BYTES.query),
  relevant: new Map([[`positive ${i}`, 1]]),
}));
const documents = new Map<string, string>(
  ['positive', 'negative'].flatMap((kind, k) =>
    queries.map(({ id }, i) => [`${kind} ${id}`, letters(1000 * (k + 1) + i, BYTES.document)] as const),
  ),
);
const trainer = new SftTrainer(
  model,
  undefined,
  model.embedId,
  {
    queries,
    document: (id) => documents.get(id) ?? '',
    negatives: (query) => `negative ${query.id}`,
    targets: new Map(
      queries.map(({ id }, i) => [id, Array.from({ length: TARGET_TOKENS }, (_, j) => 1000 + i * 37 + j)]),
    ),
  },
  sftOptionsSchema.parse({
    steps: 10,
    batchSize: queries.length,
    maxLength: MAX_LENGTH,
    optimization: { ...OPTIMIZATION, maxTokens: 1024 },
  }),
);
const loadedPeakMb = peakMemoryMb();
let step = 0;
console.log(JSON.stringify({ version: `search-r3 ${VERSION}` }));
for await (const _ of createInterface({ input: process.stdin })) {
  const started = performance.now();
  const { metrics } = await trainer.step(step++);
  const seconds = (performance.now() - started) / 1000;
  const { tokens, loss } = metrics;
  const memory = { peakMb: peakMemoryMb(), loadedPeakMb };
  const answer: ShapeStep = { tokens: tokens ?? 0, seconds, ...memory, loss: loss ?? Number.NaN };
  console.log(JSON.stringify(answer));
}
