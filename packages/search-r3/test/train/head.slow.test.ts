/**
 * Labelled rows pass the LM head in parts: the same numbers as at once, and memory that does not grow with their number.
 */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { Session } from 'onnx-grad';
import { initialiseWeights, newConfig } from 'search-r3/checkpoint';
import { fullTraining } from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { GradientEngine, LogProbabilities, type StepRequest } from 'search-r3/train';
import { describe, expect, test, vi } from 'vitest';
import { tinyModel } from '../decoder/tiny.js';
import { asParameters } from '../reference/decoder.js';
import { relativeError } from '../reference/finite-differences.js';
import {
  TINY_CONFIGS,
  TINY_GRPO_OPTIONS,
  TINY_SFT_OPTIONS,
  tinyGrpoBatch,
  tinySftBatch,
  tinyWeights,
} from '../reference/fixtures.js';
import { referenceModel } from '../reference/objectives.js';
import { adapted, grpoEngine, grpoRequest, sftEngine, sftEngineOf, sftRequest } from './requests.js';

type Extra = { maxTokens?: number; headBytes?: number };

async function compute(engine: GradientEngine, request: StepRequest) {
  const create = vi.spyOn(Session, 'create');
  try {
    const result = await engine.compute(request);
    const gradients = new Map([...result.gradients].map(([name, values]) => [name, values.slice()]));
    const inputs = create.mock.calls.flatMap(([program]) => [...program.inputs.keys()]);
    return { ...result, gradients, parts: inputs.filter((name) => name.startsWith('label_rows_')).length };
  } finally {
    create.mockRestore();
    await engine.dispose();
  }
}

// A table of its own for the head, and a shared one.
describe.each([TINY_CONFIGS[0]!, TINY_CONFIGS[1]!])('$architecture', (config) => {
  const rowBytes = 4 * config.vocabSize;
  const base = tinyModel(config, tinyWeights(config, 'base'));
  const sampler = referenceModel(
    config,
    asParameters(tinyWeights(config), () => false),
  );

  test.each([
    [
      'cross-entropy and KL',
      sftRequest(tinySftBatch(), TINY_SFT_OPTIONS),
      (extra: Extra) => sftEngine(tinyModel(config), base, extra),
    ],
    [
      'an adapter, and KL to the model below it',
      sftRequest(tinySftBatch(), TINY_SFT_OPTIONS),
      (extra: Extra) => sftEngineOf(base.config, adapted(tinyModel(config)), undefined, extra),
    ],
    [
      'policy gradient',
      grpoRequest(tinyGrpoBatch(sampler), TINY_GRPO_OPTIONS),
      (extra: Extra) => grpoEngine(tinyModel(config), extra),
    ],
  ])('%s: parts of any size give what one gives', async (_, request, engine) => {
    for (const tokens of [{}, { maxTokens: 25 }]) {
      const whole = await compute(engine(tokens), request);
      expect(whole.parts).toBe(1);
      for (const rows of [1, 3]) {
        const found = await compute(engine({ ...tokens, headBytes: rows * rowBytes + 1 }), request);
        expect(found.parts).toBeGreaterThan(1);
        expect(Math.abs(found.loss / whole.loss - 1)).toBeLessThan(1e-6);
        expect(Math.abs(found.sums.kl! / whole.sums.kl! - 1)).toBeLessThan(1e-6);
        for (const [name, sequences] of Object.entries(whole.labels)) {
          const values = (labels: readonly Float32Array[]) => labels.flatMap((row) => [...row]);
          const error = relativeError(values(found.labels[name]!), values(sequences));
          // The k3 estimate subtracts numbers that are nearly equal.
          expect(error, name).toBeLessThan(name === 'kl' ? 1e-5 : 1e-6);
        }
        for (const [name, gradient] of whole.gradients) {
          expect(relativeError(found.gradients.get(name)!, gradient), name).toBeLessThan(1e-6);
        }
      }
    }
  });
});

const VOCABULARY = 49_152;
const shape = { hiddenSize: 32, layers: 1, heads: 2, kvHeads: 1, intermediateSize: 48, maxPositions: 256 };

test('log-probabilities of more rows than one part takes', async () => {
  const config = newConfig({ ...shape, vocabSize: VOCABULARY });
  const model = { config, weights: initialiseWeights(config, 3) };
  const random = randomStream(3, 'rows');
  // 341 rows of logits are 64 MiB.
  const sequences = [250, 101, 249].map((length) => ({
    ids: Array.from({ length: length + 1 }, () => random.integer(VOCABULARY)),
    labels: Array.from({ length }, (_, position) => ({ position, weight: 1 / length, advantage: 1 })),
  }));
  const program = await LogProbabilities.create(config, fullTraining(model));
  const run = vi.spyOn(Session.prototype, 'run');
  const found = await program.compute(sequences, 0.8, 4096);
  expect(run.mock.calls.flatMap(([{ hidden }]) => hidden?.shape[0] ?? [])).toEqual([341, 259]);
  run.mockRestore();
  await program.dispose();
  const objective = { policyGradient: { clipLow: 0.2, clipHigh: 0.2, beta: 0 } };
  const engine = new GradientEngine(config, fullTraining(model), { objective });
  const trained = await compute(engine, { sequences, temperature: 0.8 });
  expect(trained.parts).toBe(2);
  for (const [i, values] of trained.labels.logProbabilities!.entries()) {
    expect(relativeError(found[i]!, values)).toBeLessThan(1e-5);
  }
});

/** Most memory, in MiB, of a process that computes one step with cross-entropy and KL on so many labelled rows. */
async function peak(rows: number, headBytes: number): Promise<number> {
  const source = `
    import { initialiseWeights, newConfig } from 'search-r3/checkpoint';
    import { fullTraining } from 'search-r3/decoder';
    import { GradientEngine } from 'search-r3/train';
    const config = newConfig(${JSON.stringify({ ...shape, vocabSize: VOCABULARY })});
    const [weights, base] = [0, 1].map((seed) => ({ config, weights: initialiseWeights(config, seed) }));
    const engine = new GradientEngine(config, fullTraining(weights), {
      objective: { crossEntropy: {}, kl: { base, vocabulary: ${VOCABULARY} } },
      headBytes: ${headBytes},
    });
    const labels = Array.from({ length: 128 }, (_, position) => ({ position, weight: 0.01, klWeight: 0.01 }));
    const ids = (row) => Array.from({ length: 129 }, (_, i) => (row * 7919 + i * 104729) % ${VOCABULARY});
    const sequences = Array.from({ length: ${rows / 128} }, (_, row) => ({ ids: ids(row), labels }));
    const { loss } = await engine.compute({ sequences });
    await engine.dispose();
    console.log(JSON.stringify({ loss, peak: process.resourceUsage().maxRSS / 1024 }));
  `;
  const cwd = fileURLToPath(new URL('../..', import.meta.url));
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', source], {
    cwd,
  });
  const found = JSON.parse(stdout) as { loss: number; peak: number };
  expect(found.loss).toBeGreaterThan(10);
  return found.peak;
}

test('memory does not grow with the number of labelled rows', async () => {
  const bytes = 1 << 25;
  const [few, many, whole] = [await peak(256, bytes), await peak(1280, bytes), await peak(1280, 1 << 30)];
  // The logits of 1,280 rows are 240 MiB, and the terms need several such tensors.
  expect(whole - many).toBeGreaterThan(600);
  expect(many - few).toBeLessThan(120);
});
