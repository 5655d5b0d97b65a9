/** Estimates of commands on the built-in world: parts with closed forms, and what they follow from. */
import { elementCount, newConfig, parameterShapes } from 'search-r3/checkpoint';
import { generateAtlas } from 'search-r3/dataset';
import {
  type Basis,
  basisOf,
  type CommandEstimate,
  type DataSettings,
  demandMemory,
  type EstimatedCommand,
  estimate,
  planSettings,
  settingsThatFit,
} from 'search-r3/pipeline';
import { atlasConfig, atlasTokenizer } from 'search-r3/pretrain';
import { InputError } from 'search-r3/run';
import { beforeAll, describe, expect, test } from 'vitest';

const settings = (own: object = {}): DataSettings => planSettings.parse({ data: 'atlas', ...own });

/** A machine whose speed is known, so that times are too. */
const MACHINE = { floatOperations: 1e11, integerOperations: 4e11, bytes: 5e10 };

let basis: Basis;
beforeAll(async () => {
  basis = { ...(await basisOf('train', settings())), machine: MACHINE };
});

const estimated = (command: EstimatedCommand, own: object = {}) => estimate(command, settings(own), basis);
const stage = ({ stages }: CommandEstimate, name: string) => {
  const found = stages.find((one) => one.stage === name);
  if (found === undefined) throw new Error(`no stage ${name}`);
  return found;
};
const bytes = (found: CommandEstimate, of: string, part: string) =>
  stage(found, of).parts.find(({ name }) => name === part)?.bytes ?? 0;
const seconds = (found: CommandEstimate, of: string, part: string) =>
  stage(found, of).times.find(({ name }) => name === part)?.seconds ?? 0;

test('a run from scratch has three stages; its peak is the largest and its time their sum', async () => {
  const found = await estimated('train');
  expect(found.stages.map((one) => one.stage)).toEqual(['pretrain', 'sft', 'rl']);
  expect(found.peak).toBe(Math.max(...found.stages.map(({ peak }) => peak)));
  expect(found.seconds).toBeCloseTo(
    found.stages.reduce((sum, one) => sum + one.seconds, 0),
    6,
  );
  for (const { parts, peak } of found.stages) {
    expect(parts.reduce((sum, part) => sum + part.bytes, 0)).toBe(peak);
  }
});

test('weights, gradients and moments are as large as the parameters', async () => {
  const found = await estimated('train', { pretrain: { steps: 10 }, sft: { tokenEmbeddings: 'trained' } });
  const shapes = parameterShapes(atlasConfig(atlasTokenizer(generateAtlas())));
  const all = 4 * [...shapes.values()].reduce((sum, shape) => sum + elementCount(shape), 0);
  for (const of of ['pretrain', 'sft']) {
    // The embed token is added after pre-training.
    expect(bytes(found, of, 'weights') / all).toBeCloseTo(1, 2);
    expect(bytes(found, of, 'gradients') / all).toBeCloseTo(1, 2);
    expect(bytes(found, of, 'moments of the optimiser') / all).toBeCloseTo(2, 2);
  }
  expect(bytes(found, 'sft', 'weights before training') / all).toBeCloseTo(1, 2);
});

test('frozen token tables get no gradients', async () => {
  const found = await estimated('sft', { base: 'somewhere' });
  const { config } = basis.outline;
  const table = 4 * config.vocabSize * config.hiddenSize;
  const row = 4 * config.hiddenSize;
  expect(bytes(found, 'sft', 'weights') - bytes(found, 'sft', 'gradients')).toBe(table - row);
});

test('a KL term to the start of stage 2 takes a second model and a second pass', async () => {
  const [without, withKl] = [await estimated('rl'), await estimated('rl', { rl: { beta: 0.01 } })];
  expect(bytes(without, 'rl', 'weights of the reference')).toBe(0);
  expect(bytes(withKl, 'rl', 'weights of the reference')).toBe(bytes(withKl, 'rl', 'weights'));
  expect(seconds(without, 'rl', 'reference')).toBe(0);
  expect(seconds(withKl, 'rl', 'reference')).toBeGreaterThan(0);
});

describe('time', () => {
  test('grows with the steps, and halves on a machine that is twice as fast', async () => {
    const [some, more] = [
      await estimated('pretrain', { pretrain: { steps: 10 } }),
      await estimated('pretrain'),
    ];
    expect(seconds(more, 'pretrain', 'gradients') / seconds(some, 'pretrain', 'gradients')).toBeCloseTo(
      150,
      6,
    );
    const machine = { floatOperations: 2e11, integerOperations: 8e11, bytes: 1e11 };
    const faster = await estimate('pretrain', settings(), { ...basis, machine });
    const ratio = seconds(more, 'pretrain', 'gradients') / seconds(faster, 'pretrain', 'gradients');
    // What it takes to start kernels stays.
    expect(ratio).toBeGreaterThan(1.7);
    expect(ratio).toBeLessThan(2);
  });

  test('of the environment follows from the share that a step encodes', async () => {
    const kind = (environment: object) => estimated('rl', { rl: { steps: 100, environment } });
    const exact = seconds(await kind({ kind: 'exact' }), 'rl', 'environment');
    const budget = { fraction: 0.05 };
    const selective = seconds(await kind({ kind: 'selective', budget }), 'rl', 'environment');
    // All documents once, and 5 % of them at each of the other steps.
    expect(selective / exact).toBeCloseTo((1 + 99 * 0.05) / 100, 6);
  });

  test('without validation queries there is no validation', async () => {
    const found = await estimated('sft', { base: 'somewhere', validation: { queries: 0 } });
    expect(stage(found, 'sft').times.map(({ name }) => name)).not.toContain('validation');
  });
});

describe('what does not fit', () => {
  const small = {
    sft: { batchSize: 64, optimization: { maxTokens: 16_384 } },
    base: 'somewhere',
    validation: { queries: 0 },
  };

  test('is refused with the largest budget of tokens that fits', async () => {
    const found = await estimated('sft', small);
    const tokens = async (maxTokens: number) =>
      (await estimated('sft', { ...small, sft: { ...small.sft, optimization: { maxTokens } } })).peak;
    const [fits, exceeds] = [await tokens(1024), await tokens(2048)];
    expect(exceeds).toBeGreaterThan(fits);
    const limit = (fits + exceeds) / 2;
    const way = await settingsThatFit(found, settings(small), basis, limit);
    expect(way).toBe('sft.optimization.maxTokens=1024');
    const demanded = demandMemory(
      found,
      settings(small),
      basis,
      { bytes: limit, by: 'control group' },
      'run.yaml',
    );
    await expect(demanded).rejects.toThrow(InputError);
    await expect(demanded).rejects.toThrow(
      /^run\.yaml: expected a command that fits into the \d+ MB of memory that the control group has available, found one that takes about .*\. This would fit: --set sft\.optimization\.maxTokens=1024\. To try it anyway: --ignore-memory\./,
    );
  });

  test('may also need activations to be recomputed, or an adapter on an int8 base', async () => {
    const found = await estimated('sft', small);
    const few = { maxTokens: 256 };
    const peak = async (optimization: object, own: object = {}) =>
      (await estimated('sft', { ...small, ...own, sft: { ...small.sft, optimization } })).peak;
    const recomputed = await peak({ ...few, checkpointActivations: true });
    expect(await settingsThatFit(found, settings(small), basis, recomputed)).toBe(
      'sft.optimization.maxTokens=256 sft.optimization.checkpointActivations=true',
    );
    const adapted = await peak(few, { lora: { base: 'int8' } });
    expect(adapted).toBeLessThan(recomputed);
    expect(await settingsThatFit(found, settings(small), basis, adapted)).toBe(
      'lora.base=int8 sft.optimization.maxTokens=256',
    );
    expect(await settingsThatFit(found, settings(small), basis, adapted - 1)).toBeUndefined();
  });

  test('passes otherwise', async () => {
    const found = await estimated('sft', small);
    await demandMemory(found, settings(small), basis, { bytes: found.peak, by: 'machine' }, 'settings');
  });
});

test('an adapter takes gradients and moments of its own size alone, and no second model', async () => {
  const rank = 8;
  const found = await estimated('sft', {
    base: 'b',
    lora: { rank, base: 'f32', targets: ['q_proj', 'down_proj'] },
  });
  const { layers, hiddenSize, heads, headDim, intermediateSize } = basis.outline.config;
  const pairs = layers * rank * (hiddenSize + heads * headDim + intermediateSize + hiddenSize);
  const own = 4 * (pairs + hiddenSize);
  expect(bytes(found, 'sft', 'gradients')).toBe(own);
  expect(bytes(found, 'sft', 'moments of the optimiser')).toBe(2 * own);
  expect(bytes(found, 'sft', 'weights before training')).toBe(own);
});

test('larger models take more of everything', async () => {
  const config = newConfig({
    ...{ vocabSize: 2000, hiddenSize: 512, intermediateSize: 1408, layers: 8, heads: 8 },
    maxPositions: 256,
  });
  const wide = { ...basis, outline: { ...basis.outline, config, embedId: 1999 } };
  const [small, large] = [
    await estimated('sft', { base: 'b' }),
    await estimate('sft', settings({ base: 'b' }), wide),
  ];
  for (const part of ['weights', 'gradients', 'activations of training', 'key/value cache']) {
    expect(bytes(large, 'sft', part), part).toBeGreaterThan(2 * bytes(small, 'sft', part));
  }
  expect(large.seconds).toBeGreaterThan(5 * small.seconds);
});
