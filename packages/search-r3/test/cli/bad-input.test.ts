/** Bad input, as a person meets it: exit code 2, one line that names file and field, and nothing written. */
import { cp, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { saveCheckpoint } from 'search-r3/checkpoint';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { cli, tinyBase, tinyCollection, writeCollection, writeModel } from './tiny.js';

let cwd: string;
/** What lies in the folder before each command, and must after it. */
let before: string[];

beforeAll(async () => {
  cwd = await mkdtemp(join(tmpdir(), 'cli-bad-'));
  const at = (name: string) => join(cwd, name);
  const { qrels } = tinyCollection();
  await writeCollection(at('data'));
  await writeCollection(at('empty'), { corpus: [] });
  await writeCollection(at('gone'), { qrels: { ...qrels, test: [['q3', 'gone', 1]] } });
  await writeCollection(at('untrained'), { qrels: { test: qrels.test ?? [] } });

  await writeCollection(at('single'), { qrels: { train: [['q0', 'd0', 1]] } });

  await writeModel(at('model'));
  const copyOf = async (name: string) => {
    await cp(at('model'), at(name), { recursive: true });
    return at(name);
  };
  await truncate(join(await copyOf('truncated'), 'model.safetensors'), 5000);
  const configured = async (name: string, changed: Record<string, unknown>) => {
    const path = join(await copyOf(name), 'config.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>;
    await writeFile(path, JSON.stringify({ ...config, ...changed }));
  };
  await configured('gpt2', { model_type: 'gpt2', architectures: ['GPT2LMHeadModel'] });
  await configured('four', { max_position_embeddings: 4 });
  await configured('vocabulary', { vocab_size: 40 });
  await configured('shaped', { intermediate_size: 56 });
  const lying = join(await copyOf('lying'), 'model.safetensors');
  const bytes = await readFile(lying);
  const header = bytes.toString('latin1', 8, 8 + Number(bytes.readBigUInt64LE()));
  // The same number of digits, another shape: the offsets do not agree with it any more.
  bytes.write(header.replace('"shape":[48,32]', '"shape":[96,32]'), 8, 'latin1');
  await writeFile(lying, bytes);
  await saveCheckpoint(at('base'), tinyBase());
  await cp(at('base'), at('pooled'), { recursive: true });
  await mkdir(at('pooled/1_Pooling'));
  await writeFile(at('pooled/1_Pooling/config.json'), '{"pooling_mode_mean_tokens": true}');

  await writeFile(at('typo.yaml'), 'data: data\nsft:\n  optimization:\n    learningrate: 0.001\n');
  await writeFile(at('group.yaml'), 'data: data\nmodel: model\nrl:\n  steps: 2\n  groupSize: 1\n');
  await writeFile(at('long.yaml'), 'embed: { maxNewTokens: 60 }\n');
  await writeFile(at('batch.yaml'), 'data: data\nbase: model\nsft: { batchSize: 9, steps: 30 }\n');
  before = (await readdir(cwd)).sort();
});
afterAll(() => rm(cwd, { recursive: true }));

const set = (...settings: string[]) => settings.flatMap((setting) => ['--set', setting]);
const SFT = ['sft', '--data', 'data', '--out', 'out', '--base'];
const RL = ['rl', '--data', 'data', '--out', 'out', '--model'];
const PRETRAIN = ['pretrain', '--out', 'out'];
const EVALUATE = ['evaluate', '--run-dir', 'out', '--data', 'data', '--model'];
const INDEX = ['index', '--out', 'out', '--data', 'data', '--model'];
const LONG = Array<string>(90).fill('wool').join(' ');

test.each<[string, string[], RegExp]>([
  [
    'truncated safetensors',
    [...SFT, 'truncated'],
    /^truncated\/model\.safetensors: .*expected .*, found .*5,?000/,
  ],
  ['the same, to be evaluated', [...EVALUATE, 'truncated'], /^truncated\/model\.safetensors: /],
  ['lying safetensors', [...INDEX, 'lying'], /^lying\/model\.safetensors: .*(shape|data_offsets|bytes)/],
  [
    'weights of another shape',
    [...INDEX, 'shaped'],
    /^shaped: model\.layers\.0\.mlp\.\w+\.weight: expected \[/,
  ],
  [
    'unknown architecture',
    [...SFT, 'gpt2'],
    /^gpt2\/config\.json: model_type: expected one of the architectures llama, qwen2, qwen3, found "gpt2"/,
  ],
  [
    'another number of rows than stored',
    [...RL, 'vocabulary'],
    /^vocabulary: model\.embed_tokens\.weight: expected \[40, 32\], from config\.json, found \[42, 32\]/,
  ],
  [
    'no model at all',
    [...EVALUATE, 'nowhere'],
    /^nowhere\/config\.json: expected a readable file, found nothing/,
  ],
  [
    'a base model for stage 2',
    [...RL, 'base'],
    /^base: prompts\.reasoning: expected a prompt for reasoning, found none in the preset topics\. .*\(search-r3 sft\)/,
  ],
  [
    'a model that pools otherwise',
    [...EVALUATE, 'pooled', '--systems', 'direct'],
    /^pooled\/1_Pooling\/config\.json: pooling_mode_\*: expected lasttoken, found mean\. /,
  ],
  [
    'no such prompts',
    [...INDEX, 'model', '--prompts', 'topic'],
    /^prompts: expected the preset search-r3, qwen3-embedding, topics or a file with prompts, found "topic"\.$/,
  ],
  [
    'judgements of missing documents, in training',
    [...SFT, 'model', '--data', 'gone'],
    /^gone\/qrels\/test\.tsv:2: corpus-id: expected an id that is in corpus\.jsonl, found "gone"\..*--allow-missing/,
  ],
  [
    'judgements of missing documents, in evaluation',
    [...EVALUATE, 'model', '--data', 'gone'],
    /^gone\/qrels\/test\.tsv:2: corpus-id: /,
  ],
  [
    'empty corpus',
    [...PRETRAIN, '--data', 'empty'],
    /^empty\/corpus\.jsonl: expected at least one document, found none/,
  ],
  ['empty corpus to index', [...INDEX, 'model', '--data', 'empty'], /^empty\/corpus\.jsonl: /],
  [
    'unknown key in the config file',
    ['train', '--config', 'typo.yaml', '--out', 'out'],
    /^typo\.yaml:4: sft\.optimization\.learningrate: .*unknown key "learningrate"\. Did you mean "learningRate"\?/,
  ],
  [
    'unknown key on the command line',
    [...SFT, 'model', ...set('sft.temprature=0.1')],
    /^--set sft\.temprature: sft\.temprature: .* Did you mean "temperature"\?/,
  ],
  [
    'stage 1: a batch larger than its queries',
    ['sft', '--config', 'batch.yaml', '--out', 'out'],
    /^batch\.yaml: sft\.batchSize: expected at most the 8 queries of stage 1 in data, found 9/,
  ],
  [
    'the same from the command line, whatever the config says',
    ['sft', '--config', 'batch.yaml', '--out', 'out', ...set('sft.batchSize=10')],
    /^--set sft\.batchSize: sft\.batchSize: expected at most the 8 queries of stage 1 in data, found 10/,
  ],
  [
    'stage 1: a batch larger than the queries that may be used',
    [...SFT, 'model', ...set('sft.maxQueries=3', 'sft.batchSize=4')],
    /^--set sft\.batchSize: sft\.batchSize: expected at most the 3 queries of sft\.maxQueries, found 4/,
  ],
  [
    'stage 2: more queries per step than there are',
    [...RL, 'model', '--queries-per-step', '30'],
    /^--queries-per-step: rl\.queriesPerStep: expected at most the 8 queries of stage 2 in data, found 30/,
  ],
  [
    'pre-training: more documents per step than there are',
    [...PRETRAIN, '--data', 'data', '--batch-size', '25'],
    /^--batch-size: pretrain\.batchSize: expected at most the 24 documents of data, found 25/,
  ],
  [
    'sizes of all stages that are larger than the collection, at once',
    [
      'train',
      '--data',
      'data',
      '--out',
      'out',
      ...set('pretrain.batchSize=25', 'sft.batchSize=9', 'rl.queriesPerStep=40'),
    ],
    /^--set pretrain\.batchSize, --set sft\.batchSize, --set rl\.queriesPerStep: pretrain\.batchSize, sft\.batchSize, rl\.queriesPerStep: expected at most the 24 documents of data and at most the 8 queries of stage 1 in data and at most the 8 queries of stage 2 in data, found 25 and 9 and 40\.$/,
  ],
  [
    'too few queries for both stages',
    ['train', '--out', 'out', '--data', 'single'],
    /^settings: sft\.batchSize, rl\.queriesPerStep: expected at least 2 queries of stage 1 in single and at least 1 queries of stage 2 in single, found 1 and 0\.$/,
  ],
  [
    'a model of four positions',
    [...SFT, 'four'],
    /^model: max_position_embeddings: expected room for the \d+ tokens of a prompt without its text, .*, found 4\./,
  ],
  [
    'a limit that the prompt alone exceeds',
    [...SFT, 'model', ...set('sft.maxLength=5')],
    /^--set sft\.maxLength: sft\.maxLength: expected more than the \d+ tokens of a prompt without its text, found 5/,
  ],
  [
    'a group of one',
    ['rl', '--config', 'group.yaml', '--out', 'out'],
    /^group\.yaml:5: rl\.groupSize: expected a group of at least 2.*, found 1/,
  ],
  [
    'audits of an environment that makes no error',
    [...RL, 'model', ...set('rl.auditEvery=2')],
    /^--set rl\.auditEvery: rl\.auditEvery: expected 0 where rl\.environment\.kind is exact: it makes no error, found 2/,
  ],
  [
    'heads that do not fit the width',
    [...PRETRAIN, '--data', 'data', ...set('pretrain.model.heads=5')],
    /pretrain\.model\.hiddenSize: expected a multiple of eight times the number of heads/,
  ],
  [
    'text longer than the positions',
    [...PRETRAIN, '--data', 'data', ...set('pretrain.model.maxPositions=64')],
    /pretrain\.maxLength: expected at most the 64 positions of pretrain\.model\.maxPositions, found its default/,
  ],
  [
    'a vocabulary for the built-in world, which has its own',
    [...PRETRAIN, '--data', 'atlas', '--vocab-size', '900'],
    /^--vocab-size: pretrain\.vocabSize: expected no such setting with the data atlas/,
  ],
  [
    'reasoning longer than a model from scratch',
    ['train', '--data', 'data', '--out', 'out', ...set('rl.maxNewTokens=256')],
    /rl\.maxNewTokens: expected fewer than the 256 positions of pretrain\.model\.maxPositions, found 256/,
  ],
  [
    'reasoning longer than the model',
    [...SFT, 'model', ...set('sft.reasoning.maxNewTokens=60', 'sft.batchSize=4')],
    /^--set sft\.reasoning\.maxNewTokens: sft\.reasoning\.maxNewTokens: expected at most \d+, beside the \d+ tokens of a prompt .* in the 64 positions of the model, found 60/,
  ],
  [
    'a base inside the run that would replace it',
    ['sft', '--data', 'data', '--out', 'data', '--base', 'data/base'],
    /^--base: base: expected a folder outside of the run folder data, found "data\/base"/,
  ],
  [
    'no data',
    ['train', '--out', 'out'],
    /^settings: data: expected a BEIR folder, or atlas \(--data\), found nothing/,
  ],
  [
    'no model',
    ['evaluate', '--data', 'data'],
    /^settings: model: expected the folder of a model \(--model\)/,
  ],
  [
    'nothing to train on',
    [...SFT, 'model', '--data', 'untrained'],
    /qrels: expected the split train, found test/,
  ],
  [
    'a split that is not there',
    [...EVALUATE, 'model', '--split', 'dev'],
    /split: expected the split dev, found test, train\. Its judgements are read from qrels\/dev\.tsv\./,
  ],
  [
    'a system that is none',
    [...EVALUATE, 'model', '--systems', 'bm25', 'bm26'],
    /^--systems: evaluate\.systems\.1: expected one of .*bm25.*, found "bm26"/,
  ],
  [
    'systems separated by commas, one of which is none',
    [...EVALUATE, 'model', '--systems', 'bm25,direct,bm26'],
    /^--systems: evaluate\.systems\.2: expected one of .*bm25.*, found "bm26"/,
  ],
  [
    'a query that does not fit, with --strict',
    ['embed', '--model', 'model', '--strict', 'bread', LONG],
    /^argument 2: prompt: expected at most 64 tokens, found 9\d tokens/,
  ],
  [
    'a document that does not fit, with --strict',
    [...INDEX, 'model', '--strict', '--max-length', '25'],
    /^document d\d+: prompt: expected at most 25 tokens, found 2\d tokens/,
  ],
  ['no text', ['embed', '--model', 'model'], /^stdin: expected at least one text, found none/],
  [
    'reasoning about documents',
    ['embed', '--model', 'model', '--role', 'document', '--reasoning', 'bread'],
    /^--reasoning: expected --role query, found --role document\. The model reasons only about queries\.$/,
  ],
  [
    'reasoning longer than the model, to embed',
    ['embed', '--model', 'model', '--reasoning', '--max-new-tokens', '60', 'bread'],
    /^--max-new-tokens: embed\.maxNewTokens: expected at most \d+, beside the \d+ tokens of the prompt .*, found 60/,
  ],
  [
    'the same from a config file',
    ['embed', '--model', 'model', '--config', 'long.yaml', '--reasoning', 'bread'],
    /^long\.yaml: embed\.maxNewTokens: expected at most \d+, .*, found 60/,
  ],
  [
    'the same, to evaluate',
    [...EVALUATE, 'model', '--systems', 'reasoned', '--max-new-tokens', '60'],
    /^--max-new-tokens: evaluate\.maxNewTokens: expected at most \d+, .*, found 60/,
  ],
  [
    'the same, to evaluate with the settings of other commands',
    [...EVALUATE, 'model', '--systems', 'reasoned', '--config', 'long.yaml'],
    /^long\.yaml: embed\.maxNewTokens: expected at most \d+, .*, found 60/,
  ],
  [
    'the name of a model on a hub',
    [...INDEX, 'Qwen/Qwen2.5-0.5B-Instruct'],
    /^Qwen\/Qwen2\.5-0\.5B-Instruct: expected a model folder, found nothing there\. search-r3 downloads nothing\. .*git clone https:\/\/huggingface\.co\/Qwen\/Qwen2\.5-0\.5B-Instruct/,
  ],
  [
    'the same as a base',
    [...SFT, 'Qwen/Qwen3-0.6B'],
    /^Qwen\/Qwen3-0\.6B: expected a model folder, .* search-r3 downloads nothing/,
  ],
  [
    'a run to resume that is not there',
    ['train', '--out', 'out', '--resume'],
    /^out: expected a run to resume, found nothing there\.$/,
  ],
])('%s', async (_, argv, message) => {
  const { status, stdout, stderr } = await cli([...argv, '--quiet'], { cwd });
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
  const lines = stderr.trimEnd().split('\n');
  expect(lines).toHaveLength(1);
  expect(lines[0]).toMatch(/^error: /);
  expect(lines[0]?.slice('error: '.length)).toMatch(message);
  expect((await readdir(cwd)).sort()).toEqual(before);
});
