/** A collection of 24 documents, models of a few thousand parameters for it, and ways to run the program. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Checkpoint, initialiseWeights, saveCheckpoint } from 'search-r3/checkpoint';
import { makePolicy, type Policy } from 'search-r3/model';
import { modelShapeSchema, scratchConfig } from 'search-r3/pretrain';
import { trainWordLevel } from 'search-r3/tokenizer';
import { runInProcess } from './in-process.js';

const MAIN = resolve(import.meta.dirname, '../../dist/cli/main.js');

const CITIES = 'arlen brook cavel dorne elmo farro gilda hask'.split(' ');
const TOPICS = {
  food: 'bread soup cheese pepper',
  trade: 'ships copper wool',
  music: 'lute drum choir dance flute',
};

export interface Row {
  _id: string;
  title?: string;
  text: string;
}

export interface TinyCollection {
  corpus: Row[];
  queries: Row[];
  /** Split -> lines of query, document, grade. */
  qrels: Record<string, [string, string, number][]>;
}

/** Three topics of eight cities; 18 training queries and 6 test queries, one of which has two answers of uneven grade. */
export function tinyCollection(): TinyCollection {
  const corpus: Row[] = [];
  const queries: Row[] = [];
  const train: [string, string, number][] = [];
  const test: [string, string, number][] = [];
  for (const city of CITIES) {
    for (const [topic, words] of Object.entries(TOPICS)) {
      const n = corpus.length;
      const text = `${words} are the ${topic} of ${city} . people of ${city} know ${topic} .`;
      corpus.push(
        n === 5 ? { _id: `d${n}`, text } : { _id: `d${n}`, title: `the ${topic} of ${city}`, text },
      );
      queries.push({ _id: `q${n}`, text: `which ${topic} is there in ${city}` });
      (n % 4 === 3 ? test : train).push([`q${n}`, `d${n}`, n === 3 ? 2 : 1]);
    }
  }
  test.push(['q3', 'd4', 1]);
  return { corpus, queries, qrels: { train, test } };
}

/** Writes a BEIR folder; what `changed` names replaces the tiny collection's. */
export async function writeCollection(
  folder: string,
  changed: Partial<TinyCollection> = {},
): Promise<string> {
  const { corpus, queries, qrels } = { ...tinyCollection(), ...changed };
  await mkdir(join(folder, 'qrels'), { recursive: true });
  const lines = (rows: readonly object[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
  await writeFile(join(folder, 'corpus.jsonl'), lines(corpus));
  await writeFile(join(folder, 'queries.jsonl'), lines(queries));
  for (const [split, rows] of Object.entries(qrels)) {
    const table = [['query-id', 'corpus-id', 'score'], ...rows].map((row) => row.join('\t'));
    await writeFile(join(folder, 'qrels', `${split}.tsv`), `${table.join('\n')}\n`);
  }
  return folder;
}

const TURNS = ['<|end|>', '<|system|>', '<|user|>', '<|assistant|>'];
const TEMPLATE =
  "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] }}{% if m['role'] == 'assistant' %}<|end|>{% endif %}" +
  '{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}';

/** A base that knows the words of the collection and nothing of them; other seeds give other weights. */
export function tinyBase(seed = 0): Checkpoint {
  const { corpus, queries } = tinyCollection();
  const texts = [...corpus, ...queries].map(({ title = '', text }) => `${title} ${text}`);
  const tokenizer = trainWordLevel([...texts, 'represent think embedding'], {
    vocabSize: 200,
    specialTokens: TURNS,
    eosToken: '<|end|>',
    padToken: '<|end|>',
    chatTemplate: TEMPLATE,
  });
  const shape = { hiddenSize: 32, intermediateSize: 48, layers: 2, heads: 4, kvHeads: 2, maxPositions: 64 };
  const config = scratchConfig(tokenizer, modelShapeSchema.parse(shape));
  return { config, weights: initialiseWeights(config, seed), tokenizer };
}

/** The base as a retriever. */
export function tinyPolicy(seed = 0): Policy {
  const prompts = { system: 'represent', assistant: 'embedding' };
  return makePolicy(tinyBase(seed), { query: prompts, document: prompts, reasoning: { system: 'think' } });
}

export async function writeModel(folder: string, seed = 0): Promise<string> {
  await saveCheckpoint(folder, tinyPolicy(seed), { overwrite: true });
  return folder;
}

export interface Ended {
  status: number | null;
  stdout: string;
  stderr: string;
}

export interface CliOptions {
  cwd: string;
  stdin?: string;
  /** Starts a process even where nothing below needs one. */
  spawned?: boolean;
  /** Called with all of stderr so far, and what sends a signal. */
  onStderr?: (text: string, kill: (signal: NodeJS.Signals) => void) => void;
  /** Called with the process when its first output arrives. */
  onResult?: (child: ChildProcessWithoutNullStreams) => void;
}

/** Runs the built program: in a process of its own where the options need one, else in this process. */
export function cli(argv: readonly string[], options: CliOptions): Promise<Ended> {
  const { cwd, stdin = '', spawned = false, onStderr, onResult } = options;
  const needsProcess = spawned || onStderr !== undefined || onResult !== undefined;
  return needsProcess ? spawnProgram(argv, options) : runInProcess(argv, cwd, stdin);
}

function spawnProgram(
  argv: readonly string[],
  { cwd, stdin = '', onStderr, onResult }: CliOptions,
): Promise<Ended> {
  return new Promise((done, failed) => {
    const child = spawn(process.execPath, [MAIN, ...argv], { cwd });
    const ended: Ended = { status: null, stdout: '', stderr: '' };
    child.stdout.on('data', (chunk) => {
      if (ended.stdout === '') onResult?.(child);
      ended.stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      ended.stderr += chunk;
      onStderr?.(ended.stderr, (signal) => child.kill(signal));
    });
    child.on('error', failed);
    child.on('close', (status) => done({ ...ended, status }));
    child.stdin.on('error', () => {}); // A program that refuses its arguments reads nothing.
    child.stdin.end(stdin);
  });
}

/** Runs the program with `--json` and gives its result. @throws Error with stderr where it fails. */
export async function cliJson<T>(
  argv: readonly string[],
  cwd: string,
  options: Pick<CliOptions, 'spawned'> = {},
): Promise<T> {
  const { status, stdout, stderr } = await cli([...argv, '--json', '--quiet'], { cwd, ...options });
  if (status !== 0) throw new Error(`search-r3 ${argv.join(' ')}: exit code ${status}\n${stderr}`);
  return JSON.parse(stdout) as T;
}

export const weightsOf = (model: string): Promise<Buffer> => readFile(join(model, 'model.safetensors'));
