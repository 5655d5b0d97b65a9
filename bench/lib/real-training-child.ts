/**
 * A contrastive training step of ours for the `real` benchmark, in its own process so that its memory can be measured.
 * Arguments: a model, a file of `ContrastiveInputs`, full or lora, the precision of the base, the number of threads, an
 * adapter folder (or -). Requests and answers as bench/peers/real_training.py has them, without group sizes.
 */
import { createInterface } from 'node:readline';
import { globalNorm } from 'onnx-grad/optim';
import { VERSION } from 'search-r3';
import { loadCheckpoint } from 'search-r3/checkpoint';
import { Model, makePolicy } from 'search-r3/model';
import { Optimizer, type StepRequest } from 'search-r3/train';
import { peakMemoryMb } from './machine.js';
import { type ContrastiveInputs, OPTIMIZATION, readTrainingInputs } from './real-training-inputs.js';

const [path, inputsPath, kind, precision, threads, adapter] = process.argv.slice(2);
const { queries, documents, temperature, cached } = await readTrainingInputs<ContrastiveInputs>(inputsPath);
const maxTokens = cached ? 2048 : 16_384;
const model =
  kind === 'lora'
    ? await Model.loadTrainable(adapter, {
        precision: precision as 'f32' | 'int8',
        threads: Number(threads),
      })
    : Model.of(makePolicy(await loadCheckpoint(path)), { threads: Number(threads) });
const training = model.trainable({ tokenEmbeddings: 'frozen' });
const engine = model.trainer(training, { objective: { infoNce: { temperature } }, maxTokens });
const optimizer = new Optimizer(training.trained, { ...OPTIMIZATION, maxTokens }, 1000);
const request: StepRequest = {
  sequences: [...queries, ...documents].map((ids) => ({ ids, labels: [], embed: ids.length - 1 })),
  contrastive: {
    anchors: queries.map((_, i) => ({
      sequence: i,
      positive: i,
      infoNceWeight: 1 / queries.length,
      tripletWeight: 0,
      falseNegatives: [],
    })),
    documents: documents.map((_, i) => queries.length + i),
  },
};
const tokens = request.sequences.reduce((total, { ids }) => total + ids.length, 0);
let step = 0;
console.log(JSON.stringify({ version: `search-r3 ${VERSION}` }));
for await (const _ of createInterface({ input: process.stdin })) {
  const started = performance.now();
  const { loss, gradients } = await engine.compute(request);
  // Rows of tokens are not trained on the other side.
  const compared = [...gradients].filter(([name]) => !name.endsWith('[embed]'));
  const norm = globalNorm(new Map(compared));
  optimizer.update(step++, gradients);
  model.updated();
  const seconds = (performance.now() - started) / 1000;
  console.log(JSON.stringify({ tokens, seconds, peakMb: peakMemoryMb(), loss, norm }));
}
