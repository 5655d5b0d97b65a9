/**
 * What the systems of the `real` benchmark are given: a real model, in its GGUF file and with its weights as float32,
 * and token ids of SciFact's abstracts, so that every system sees the same.
 */
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { loadCheckpoint, openModel, saveCheckpoint } from 'search-r3/checkpoint';
import { documentText, loadCorpus } from 'search-r3/dataset';
import { exists } from 'search-r3/run';
import type { Log } from './benchmark.js';
import { REAL_CACHE, ROOT, scifactFolder } from './paths.js';

export interface Inputs {
  /** To encode: title and text, at most 160 tokens. */
  abstracts: number[][];
  /** To generate after: their first 58 tokens. */
  prompts: number[][];
  newTokens: number;
  /** For perplexity and hidden states. */
  scored: number[][];
  /** Turns of a user, each answered by `answerTokens` greedy tokens. */
  chats: string[];
  answerTokens: number;
}

export const readInputs = async (path: string): Promise<Inputs> =>
  JSON.parse(await readFile(path, 'utf8')) as Inputs;

export interface RealModel {
  gguf: string;
  /** A folder with the same weights as float32, for transformers. */
  folder: string;
  /** The file with the `Inputs`. */
  inputs: string;
}

/** REAL_MODEL, or the file beside the project; undefined with the reason where it or SciFact is missing. */
export async function realModel(quick: boolean, log: Log): Promise<RealModel | { missing: string }> {
  const gguf = await ggufFile();
  if (gguf === undefined) {
    return { missing: 'no SmolLM2-135M-Instruct as GGUF (REAL_MODEL names the file)' };
  }
  const corpus = join(scifactFolder(), 'corpus.jsonl');
  if (!(await exists(corpus))) return { missing: 'no SciFact (SCIFACT names its folder)' };
  const folder = join(REAL_CACHE, `${basename(gguf, '.gguf')}-f32`);
  if (!(await exists(folder))) {
    log('writing the weights of the GGUF file as float32, once');
    await mkdir(dirname(folder), { recursive: true });
    await saveCheckpoint(folder, await loadCheckpoint(gguf));
  }
  const inputs = join(REAL_CACHE, quick ? 'inputs-quick.json' : 'inputs.json');
  await writeFile(inputs, JSON.stringify(await makeInputs(gguf, corpus, quick)));
  return { gguf, folder, inputs };
}

async function ggufFile(): Promise<string | undefined> {
  if (process.env.REAL_MODEL !== undefined) return resolve(process.env.REAL_MODEL);
  const folder = join(ROOT, '../shared/data/models/SmolLM2-135M-Instruct');
  const names = await readdir(folder).catch(() => []);
  const name = names.find((each) => each.endsWith('.gguf'));
  return name === undefined ? undefined : join(folder, name);
}

async function makeInputs(gguf: string, corpus: string, quick: boolean): Promise<Inputs> {
  const texts = (await loadCorpus(corpus)).slice(0, 256).map(documentText);
  const model = await openModel(gguf);
  const ids = await model.tokenizer.encodeBatch(texts).finally(() => model.close());
  const long = ids.filter((own) => own.length >= 58);
  return {
    abstracts: ids.slice(0, quick ? 8 : 128).map((own) => own.slice(0, 160)),
    prompts: long.slice(0, 24).map((own) => own.slice(0, 58)),
    newTokens: quick ? 4 : 48,
    scored: ids.slice(0, quick ? 3 : 32).map((own) => own.slice(0, 160)),
    chats: TOPICS.slice(0, quick ? 2 : undefined).map((topic) => `Explain in a few sentences: ${topic}`),
    answerTokens: quick ? 12 : 60,
  };
}

const TOPICS = [
  'why the sky is blue',
  'how vaccines work',
  'what a neural network is',
  'the causes of the First World War',
  'how bread rises',
  'what inflation does to savings',
  'the water cycle',
  'how a bill becomes a law in the United States',
  'why some metals rust',
  'what DNA is made of',
  'how to fold a paper plane',
  'the difference between weather and climate',
  'photosynthesis, with its formula',
  'what a prime number is, with examples: 2, 3, 5, 7',
  'how the heart pumps blood',
  'a sorting algorithm in Python',
  'the plot of "Romeo and Juliet"',
  'why the moon has phases',
  'how batteries store energy',
  'what “naïve” and “café” have in common',
];
