/**
 * search-r3 in float32 at commit d815b6c, which the `real` benchmark measures progress from.
 *
 * Arguments: a checkout of that commit, built; a model folder; a file of inputs (bench/lib/real-inputs.ts); the number of
 * threads. Requests and answers are those of real_llama.mjs.
 */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [checkout, folder, inputsPath, threadsGiven] = process.argv.slice(2);
const load = (name) => import(pathToFileURL(resolve(checkout, `packages/search-r3/dist/${name}/index.js`)).href);
const { loadCheckpoint } = await load('checkpoint');
const { parameterFeeds } = await load('model');
const { SequenceEncoder } = await load('embed');
const { Generator } = await load('generate');

const { abstracts, prompts, newTokens } = JSON.parse(readFileSync(inputsPath, 'utf8'));
const threads = Number(threadsGiven);
const checkpoint = await loadCheckpoint(folder);
const parameters = parameterFeeds(checkpoint);
let encoder;
let generator;

const count = (sequences) => sequences.reduce((sum, ids) => sum + ids.length, 0);

async function encode() {
  encoder ??= await SequenceEncoder.create(checkpoint.config, parameters, { threads });
  await encoder.encode(abstracts);
  return count(abstracts);
}

async function generate(sequences) {
  generator ??= await Generator.create(checkpoint.config, parameters, { threads });
  const options = { maxNewTokens: newTokens, stop: [], temperature: 0 };
  const completions = await generator.generate(prompts.slice(0, sequences), options);
  return count(completions.map(([{ tokens }]) => tokens));
}

const peakMb = () => {
  const line = readFileSync('/proc/self/status', 'utf8').match(/^VmHWM:\s+(\d+) kB/m);
  return Math.round(Number(line[1]) / 1024);
};

const answer = (fields) => process.stdout.write(`${JSON.stringify(fields)}\n`);

async function timed(work) {
  const start = performance.now();
  const tokens = await work();
  answer({ tokens, seconds: (performance.now() - start) / 1000, peakMb: peakMb() });
}

answer({ version: 'search-r3 d815b6c', threads });
for await (const line of createInterface({ input: process.stdin })) {
  const [word, argument] = line.split(' ');
  if (word === 'quit') break;
  if (word === 'encode') await timed(encode);
  else if (word === 'generate') await timed(() => generate(Number(argument)));
  else answer({ error: `expected encode, generate or quit, found ${line}` });
}
process.exit(0);
