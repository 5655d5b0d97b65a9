/**
 * Steps of GRPO of ours for the `real` benchmark, in their own process so that their memory can be measured. Arguments: a
 * model, a file of `GrpoInputs`, the number of threads, a file for the state of the environment after all documents were
 * encoded, which takes minutes. Answers each line on stdin with a `GrpoStep`.
 */
import { createInterface } from 'node:readline';
import { VERSION } from 'search-r3';
import { documentText } from 'search-r3/dataset';
import { Model } from 'search-r3/model';
import { createEnvironment } from 'search-r3/pipeline';
import { RlTrainer, rlOptionsSchema } from 'search-r3/rl';
import { exists, readStateFile, writeStateFile } from 'search-r3/run';
import { lexicalNegatives } from 'search-r3/sft';
import { peakMemoryMb } from './machine.js';
import type { GrpoStep } from './real-grpo.js';
import {
  ADAPTER,
  type GrpoInputs,
  grpoCollection,
  MAX_LENGTH,
  OPTIMIZATION,
  readTrainingInputs,
} from './real-training-inputs.js';

const [path, inputsPath, threads, statePath] = process.argv.slice(2);
const inputs = await readTrainingInputs<GrpoInputs>(inputsPath);
const { queries, collection } = await grpoCollection(inputs);
const model = await Model.loadTrainable(path, {
  precision: 'int8',
  threads: Number(threads),
  adapter: ADAPTER,
});
const options = rlOptionsSchema.parse({
  steps: 1000,
  queriesPerStep: queries.length,
  groupSize: inputs.samples,
  maxNewTokens: inputs.newTokens,
  maxLength: MAX_LENGTH,
  environment: { kind: 'selective', budget: { fraction: 0.05 } },
  optimization: { ...OPTIMIZATION, maxTokens: 1024 },
});
const texts = new Map(collection.corpus.map((document) => [document.id, documentText(document)]));
const document = (id: string) => texts.get(id) ?? '';
const { environment } = await createEnvironment(model, collection, document, options);
if (await exists(statePath)) await environment.restore(await readStateFile(statePath));
else {
  await environment.refresh(0, { vectors: new Float32Array(), relevant: [] });
  await writeStateFile(statePath, environment.state());
}
const negatives = lexicalNegatives(collection.corpus, {});
const trainer = await RlTrainer.create(model, environment, { queries, document, negatives }, options);

/** Seconds of a step by what they went into; what the trainer does not book is `other`. */
function partsOf(timings: Readonly<Record<string, number>>, seconds: number): Record<string, number> {
  const parts: Record<string, number> = { rollout: 0, environment: 0, gradients: 0, update: 0, other: 0 };
  for (const [name, own] of Object.entries(timings)) {
    const part = name.startsWith('environment') ? 'environment' : name in parts ? name : 'other';
    parts[part] += own;
  }
  parts.other += seconds - Object.values(parts).reduce((total, own) => total + own, 0);
  return parts;
}

let step = 0;
console.log(JSON.stringify({ version: `search-r3 ${VERSION}` }));
for await (const _ of createInterface({ input: process.stdin })) {
  const started = performance.now();
  const { metrics, timings } = await trainer.step(++step);
  const seconds = (performance.now() - started) / 1000;
  const total = (prefix: string) =>
    Object.entries(metrics).reduce(
      (sum, [name, value]) => sum + (name.startsWith(prefix) ? (value ?? 0) : 0),
      0,
    );
  const answer: GrpoStep = {
    seconds,
    peakMb: peakMemoryMb(),
    completionLength: metrics.completion_length ?? 0,
    parts: partsOf(timings, seconds),
    sizes: {
      'completions updated': (1 - (metrics.zero_variance ?? 0)) * queries.length * inputs.samples,
      'of them drawn to a document': metrics.anchors ?? 0,
      'documents encoded by the environment': total('documents_'),
      'tokens in these': total('tokens_'),
    },
  };
  console.log(JSON.stringify(answer));
}
