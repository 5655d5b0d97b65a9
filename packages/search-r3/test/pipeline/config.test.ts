import { mergeConfig, parseConfig } from 'search-r3/cli';
import { pretrainSettings, rlSettings, sftSettings, trainSettings } from 'search-r3/pipeline';
import { pretrainOptionsSchema } from 'search-r3/pretrain';
import { rlOptionsSchema } from 'search-r3/rl';
import { InputError } from 'search-r3/run';
import { sftOptionsSchema } from 'search-r3/sft';
import { expect, test } from 'vitest';
import type { z } from 'zod';

const load = <T>(schema: z.ZodType<T>, yaml: string): T =>
  mergeConfig(schema, parseConfig('a.yaml', yaml), []);

function refusal(schema: z.ZodType, yaml: string): string {
  try {
    load(schema, yaml);
  } catch (error) {
    if (error instanceof InputError) return error.message;
    throw error;
  }
  throw new Error('accepted');
}

test('the sections of the stages have the options and defaults of the stages, but one seed for all', () => {
  const { seed, pretrain, sft, rl } = load(trainSettings, 'data: x\nout: y\nseed: 5\n');
  const { model, ...rest } = pretrain;
  expect(seed).toBe(5);
  // Sizes of a step are left open until the collection is known.
  expect({ ...rest, seed: 0, batchSize: 64 }).toEqual(pretrainOptionsSchema.parse({}));
  expect({ ...sft, seed: 0, batchSize: 32 }).toEqual(sftOptionsSchema.parse({}));
  expect({ ...rl, seed: 0, queriesPerStep: 16 }).toEqual(rlOptionsSchema.parse({}));
  expect([pretrain.batchSize, sft.batchSize, rl.queriesPerStep]).toEqual([undefined, undefined, undefined]);
  expect(model).toMatchObject({ hiddenSize: 192, layers: 4 });
  expect(refusal(trainSettings, 'data: x\nout: y\nsft:\n  seed: 3\n')).toMatch(
    /^a\.yaml:4: sft\.seed: expected one of the keys .* Did you mean "seed"\?$/,
  );
});

test.each<[string, z.ZodType, string, RegExp]>([
  [
    'stage rules hold in their sections',
    rlSettings,
    'model: m\nrl: { policyWeight: 0, contrastive: { weight: 0 } }',
    /rl\.policyWeight: expected a policy gradient or a contrastive term/,
  ],
  [
    'stage 1 has something to learn',
    sftSettings,
    'base: b\nsft: { weights: { crossEntropy: 0, kl: 0, infoNce: 0, triplet: 0 } }',
    /sft\.weights: expected a term with a weight above 0, found \{"crossEntropy":0,"kl":0,"infoNce":0,"triplet":0\}/,
  ],
  [
    'stage 1 has something to learn without reasoning too',
    sftSettings,
    'base: b\nsft: { weights: { crossEntropy: 0, infoNce: 0, triplet: 0 }, reasoning: { enabled: false } }',
    /sft\.weights: expected a weight above 0 other than kl, which applies to the reasoning alone, found/,
  ],
  ['a base is needed for sft', sftSettings, '', /base: expected the folder of a base model \(--base\)/],
  ['a model is needed for rl', rlSettings, 'base: b', /model: expected the folder of a model of stage 1/],
  ['the base in the run folder', trainSettings, 'base: y/base', /base: expected a folder outside of the run/],
  ['the base as the run folder', trainSettings, 'base: ./y', /base: expected a folder outside of the run/],
  [
    'reasoning targets longer than the model',
    trainSettings,
    'sft: { reasoning: { maxNewTokens: 300 } }',
    /sft\.reasoning\.maxNewTokens: expected fewer than the 256 positions/,
  ],
  [
    'shorter vectors that are not shorter, of stage 1',
    trainSettings,
    'pretrain: { model: { hiddenSize: 96 } }\nsft: { matryoshka: [32, 96] }',
    /sft\.matryoshka: expected lengths below the 96 of pretrain\.model\.hiddenSize, found \[32,96\]/,
  ],
  [
    'shorter vectors that are not shorter, of stage 2',
    trainSettings,
    'rl: { contrastive: { matryoshka: [192] } }',
    /rl\.contrastive\.matryoshka: expected lengths below the 192 of pretrain\.model\.hiddenSize/,
  ],
  [
    'one length twice',
    trainSettings,
    'sft: { matryoshka: [64, 32, 64] }',
    /sft\.matryoshka: expected different lengths, found/,
  ],
  [
    'rollouts too short for the reasoning that stage 1 teaches',
    trainSettings,
    'sft: { reasoning: { maxNewTokens: 24 } }\nrl: { maxNewTokens: 23 }',
    /rl\.maxNewTokens: expected at least the 24 of sft\.reasoning\.maxNewTokens, found 23/,
  ],
  [
    'key heads that do not divide the heads',
    pretrainSettings,
    'pretrain: { model: { kvHeads: 4 } }',
    /pretrain\.model\.kvHeads: expected a divisor of the number of heads/,
  ],
  [
    'pairs longer than the model',
    pretrainSettings,
    'pretrain: { contrastive: { batchSize: 4, maxLength: 257 } }',
    /pretrain\.contrastive\.maxLength: expected at most the 256 positions/,
  ],
  ['a share that leaves nothing', trainSettings, 'queries: { sftShare: 1 }', /queries\.sftShare: expected/],
  ['more held out than learnt from', trainSettings, 'validation: { share: 0.6 }', /validation\.share: /],
  ['prompts with unknown parts', trainSettings, 'prompts: { querry: {} }', /Did you mean "query"\?/],
])('refused: %s', (_, schema, yaml, message) => {
  expect(refusal(schema, `data: x\nout: y\n${yaml}\n`)).toMatch(message);
});

test('a collection in the run folder, which overwriting would remove, is refused', () => {
  const message = /data: expected a folder outside of the run folder runs\/y, found "runs\/y\/data"/;
  expect(refusal(pretrainSettings, 'data: runs/y/data\nout: runs/y\n')).toMatch(message);
  expect(refusal(rlSettings, 'data: ./atlas\nout: .\nmodel: ../m\n')).toMatch(
    /data: expected a folder outside/,
  );
  expect(load(rlSettings, 'data: atlas\nout: .\nmodel: ../m\n').data).toBe('atlas');
});

test('rules of pre-training do not hold where there is a base; a run beside its base is fine', () => {
  const yaml = 'data: x\nout: runs/y\nbase: runs/base\nrl: { maxNewTokens: 300 }\n';
  expect(load(trainSettings, yaml).rl.maxNewTokens).toBe(300);
  expect(load(sftSettings, 'data: x\nout: runs/a\nbase: runs/ab\n').base).toBe('runs/ab');
});

test.each([
  ['contrastive: { batchSize: 4 }', /pretrain\.contrastive\.batchSize: expected 0 with the data atlas/],
  ['start: lexical', /pretrain\.start: expected no such setting with the data atlas/],
  ['lowercase: true', /pretrain\.lowercase: expected no such setting with the data atlas/],
])('the built-in world has texts of its own: %s', (setting, expected) => {
  expect(refusal(trainSettings, `data: atlas\nout: y\npretrain: { ${setting} }\n`)).toMatch(expected);
});

test('prompts are filled in', () => {
  const { prompts } = load(trainSettings, 'data: x\nout: y\nprompts: { reasoning: { system: think } }\n');
  expect(prompts?.reasoning.system).toBe('think');
  expect(prompts?.query.assistant).toBe('The embedding is');
});
