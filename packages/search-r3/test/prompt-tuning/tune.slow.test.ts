/** Scores of prompts without training against those of policies made with them. */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { initialiseWeights, type PromptOverrides, saveCheckpoint } from 'search-r3/checkpoint';
import { documentText, loadBeir } from 'search-r3/dataset';
import { Embedder } from 'search-r3/embed';
import { scoreRankings } from 'search-r3/evaluate';
import { Model, makePolicy } from 'search-r3/model';
import { ATLAS_TEMPLATE, modelShapeSchema, scratchConfig } from 'search-r3/pretrain';
import { tunePrompt } from 'search-r3/prompt-tuning';
import { trainByteLevelBpe } from 'search-r3/tokenizer';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { parse } from 'yaml';
import { runInProcess } from '../cli/in-process.js';
import { tinyCollection, writeCollection } from '../cli/tiny.js';

let root: string;
const at = (name: string) => join(root, name);
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'tune-prompt-'));
  await writeCollection(at('data'));
  const { corpus, queries } = tinyCollection();
  const tokenizer = await trainByteLevelBpe(
    [...corpus, ...queries].map(({ text }) => text),
    {
      vocabSize: 300,
      specialTokens: ['<|endoftext|>', '<|system|>', '<|user|>', '<|assistant|>'],
      eosToken: '<|endoftext|>',
      padToken: '<|endoftext|>',
      chatTemplate: ATLAS_TEMPLATE,
    },
  );
  const shape = modelShapeSchema.parse({
    hiddenSize: 16,
    intermediateSize: 24,
    layers: 2,
    heads: 2,
    kvHeads: 2,
  });
  const config = scratchConfig(tokenizer, { ...shape, maxPositions: 512 });
  await saveCheckpoint(at('base'), { config, tokenizer, weights: initialiseWeights(config, 3) });
});
afterAll(() => rm(root, { recursive: true, force: true }));

/** nDCG@10 of all training queries on all documents, by a policy with these prompts. */
async function trainedScore(prompts: PromptOverrides): Promise<number> {
  const { corpus, queries, qrels } = await loadBeir(at('data'));
  const { loadModel } = await import('search-r3/pipeline');
  await using model = Model.of(makePolicy(await loadModel(at('base')), prompts));
  const embedder = new Embedder(model);
  const judged = qrels.get('train')!;
  const documents = await embedder.embed(corpus.map(documentText), { role: 'document', maxLength: 160 });
  const ours = await embedder.embed(
    [...judged.keys()].map((id) => queries.get(id)!.text),
    { maxLength: 160 },
  );
  const rankings = new Map(
    [...judged.keys()].map((id, q) => [
      id,
      new Map(
        corpus.map((document, d) => [
          document.id,
          ours[q]!.vector.reduce((sum, value, i) => sum + value * documents[d]!.vector[i]!, 0),
        ]),
      ),
    ]),
  );
  return scoreRankings(judged, rankings, ['ndcg@10'])['ndcg@10'].mean;
}

test('each score is that of the policy that training would start from', async () => {
  const { corpus, queries, qrels } = await loadBeir(at('data'));
  const scores = await tunePrompt(at('base'), { corpus, queries }, qrels.get('train')!, {});
  expect(scores.map(({ name }) => name)).toContain('the default prompts');
  expect(scores.length).toBeGreaterThan(3);
  expect(scores.map(({ raw }) => raw)).toEqual(scores.map(({ raw }) => raw).sort((a, b) => b - a));
  for (const { overrides, raw, name } of scores)
    expect(raw, name).toBeCloseTo(await trainedScore(overrides), 6);
});

test('the command writes the best, and train takes them', async () => {
  const cli = (...argv: string[]) => runInProcess(argv, root, '');
  const { status, stdout } = await cli(
    'tune-prompt',
    '--base',
    'base',
    '--data',
    'data',
    '--out',
    'best.yaml',
    '--json',
  );
  expect(status).toBe(0);
  const { scores } = JSON.parse(stdout) as { scores: { name: string; overrides: PromptOverrides }[] };
  const written = await readFile(at('best.yaml'), 'utf8');
  expect(written.startsWith(`# ${scores[0]!.name}: nDCG@10 `)).toBe(true);
  expect(parse(written) ?? {}).toEqual(scores[0]!.overrides);
  const run = [
    'sft',
    '--base',
    'base',
    '--data',
    'data',
    '--out',
    'run',
    '--steps',
    '1',
    '--prompt-file',
    'best.yaml',
  ];
  const trained = await cli(...run, '--set', 'sft.reasoning.enabled=false', '--set', 'validation.queries=0');
  expect(trained.stderr).not.toContain('error');
  expect(trained.status).toBe(0);
  const config = parse(await readFile(at('run/config.yaml'), 'utf8')) as { prompts: PromptOverrides };
  expect(config.prompts).toMatchObject(scores[0]!.overrides);
  const missing = await cli(...run.slice(0, -1), 'nothing.yaml', '--overwrite');
  expect(missing).toMatchObject({
    status: 2,
    stderr:
      'error: --prompt-file: prompts: expected prompts, or a YAML file with them, found nothing.yaml.\n',
  });
});
