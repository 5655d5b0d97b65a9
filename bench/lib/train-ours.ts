/**
 * Our side of the `training` benchmark, in its own process so that its memory can be measured: complete training steps
 * of the library (collation, gradients, clipping, AdamW) at the shapes of bench/peers/train_torch.py. Answers `step
 * SHAPE COUNT` with one line of JSON.
 */
import { createInterface } from 'node:readline';
import { initialiseWeights, newConfig, parameterShapes } from 'search-r3/checkpoint';
import { fullTraining } from 'search-r3/decoder';
import { GradientEngine, Optimizer } from 'search-r3/train';
import { peakMemoryMb, resetPeakMemory } from './machine.js';

interface Shape {
  hiddenSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  intermediateSize: number;
  vocabSize: number;
  batch: number;
  length: number;
}

const SHAPES: Record<string, Shape> = {
  a: {
    hiddenSize: 256,
    layers: 6,
    heads: 8,
    kvHeads: 4,
    intermediateSize: 704,
    vocabSize: 2048,
    batch: 32,
    length: 96,
  },
  b: {
    hiddenSize: 512,
    layers: 8,
    heads: 8,
    kvHeads: 4,
    intermediateSize: 1408,
    vocabSize: 8192,
    batch: 16,
    length: 128,
  },
};

console.log(JSON.stringify({ side: 'search-r3' }));

interface Built {
  name: string;
  tokens: number;
  /** Of a step. */
  flops: number;
  /** One training step. @returns its loss. */
  one(): Promise<number>;
}

let current: Built | undefined;

async function build(name: string): Promise<Built> {
  const { batch, length, ...shape } = SHAPES[name];
  resetPeakMemory();
  const config = newConfig({ ...shape, maxPositions: 1024 });
  const weights = initialiseWeights(config, 0);
  const engine = new GradientEngine(config, fullTraining({ config, weights }), {
    objective: { crossEntropy: {} },
    maxTokens: batch * length,
  });
  const optimizer = new Optimizer(
    weights,
    {
      learningRate: 1e-4,
      schedule: 'constant',
      warmupSteps: 0,
      finalLearningRate: 1,
      weightDecay: 0.01,
      betas: [0.9, 0.95],
      maxGradientNorm: 1,
      maxTokens: batch * length,
      checkpointActivations: false,
    },
    1000,
  );
  const weight = 1 / (batch * (length - 1));
  const labels = Array.from({ length: length - 1 }, (_, position) => ({ position, weight }));
  const sequences = Array.from({ length: batch }, (_, row) => ({
    ids: Array.from({ length }, (__, i) => (row * 7919 + i * 104729) % shape.vocabSize),
    labels,
  }));
  // Matrix products: forward once, backward twice; attention without the causal mask, as the peer counts.
  let matrices = 0;
  for (const [parameter, dims] of parameterShapes(config)) {
    if (dims.length === 2 && parameter !== 'model.embed_tokens.weight') matrices += dims[0] * dims[1];
  }
  const head = shape.vocabSize * shape.hiddenSize;
  const tokens = batch * length;
  const attention = 2 * length * shape.hiddenSize * shape.layers;
  const flops = 6 * tokens * (matrices + head + attention);
  let step = 0;
  const one = async () => {
    const { gradients, loss } = await engine.compute({ sequences });
    optimizer.update(step++, gradients);
    return loss;
  };
  await one();
  await one();
  return { name, tokens, flops, one };
}

for await (const line of createInterface({ input: process.stdin })) {
  const [word, shape, count] = line.split(' ');
  if (word !== 'step') continue;
  if (current?.name !== shape) current = await build(shape);
  const started = performance.now();
  let loss = 0;
  for (let i = 0; i < Number(count); i++) loss = await current.one();
  const seconds = (performance.now() - started) / 1000;
  console.log(
    JSON.stringify({
      shape,
      tokensPerSecond: (Number(count) * current.tokens) / seconds,
      gflops: (Number(count) * current.flops) / seconds / 1e9,
      peakMb: peakMemoryMb(),
      loss,
    }),
  );
}
