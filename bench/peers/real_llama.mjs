/**
 * SmolLM2 in llama.cpp on the CPU, through node-llama-cpp: a peer of the `real` benchmark.
 *
 * Arguments: the folder of the package, a GGUF file, a file of inputs (bench/lib/real-inputs.ts), the number of threads.
 * Answers each request on stdin with one line of JSON:
 *
 *     encode            the last hidden state of each abstract    {"tokens", "seconds", "peakMb"}
 *     generate COUNT    greedy tokens after COUNT prompts         {"tokens", "seconds", "peakMb"}
 *     quit
 *
 * node-llama-cpp encodes one text at a time. Sequences that generate share its batches.
 */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const [packageFolder, modelPath, inputsPath, threadsGiven] = process.argv.slice(2);
const { getLlama } = await import(pathToFileURL(resolve(packageFolder, 'dist/index.js')).href);
const { version } = JSON.parse(readFileSync(join(packageFolder, 'package.json'), 'utf8'));
const { abstracts, prompts, newTokens } = JSON.parse(readFileSync(inputsPath, 'utf8'));
const threads = Number(threadsGiven);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error', maxThreads: threads });
const model = await llama.loadModel({ modelPath });

let encoder;
const contexts = new Map();

async function encode() {
  const contextSize = Math.max(...abstracts.map((ids) => ids.length)) + 8;
  encoder ??= await model.createEmbeddingContext({ contextSize, batchSize: contextSize, threads });
  let tokens = 0;
  for (const ids of abstracts) {
    await encoder.getEmbeddingFor(ids);
    tokens += ids.length;
  }
  return tokens;
}

async function sequencesOf(count) {
  if (!contexts.has(count)) {
    const contextSize = Math.max(...prompts.map((ids) => ids.length)) + newTokens + 8;
    const context = await model.createContext({ contextSize, sequences: count, threads });
    contexts.set(
      count,
      Array.from({ length: count }, () => context.getSequence()),
    );
  }
  return contexts.get(count);
}

async function generate(count) {
  const sequences = await sequencesOf(count);
  const lengths = await Promise.all(
    sequences.map(async (sequence, i) => {
      await sequence.clearHistory();
      let length = 0;
      for await (const _ of sequence.evaluate(prompts[i], { temperature: 0, yieldEogToken: true })) {
        if (++length === newTokens) break;
      }
      return length;
    }),
  );
  return lengths.reduce((sum, length) => sum + length, 0);
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

answer({ version: `node-llama-cpp ${version}, llama.cpp ${llama.llamaCppRelease.release}`, threads, info: llama.systemInfo });
for await (const line of createInterface({ input: process.stdin })) {
  const [word, count] = line.split(' ');
  if (word === 'quit') break;
  if (word === 'encode') await timed(encode);
  else if (word === 'generate') await timed(() => generate(Number(count)));
  else answer({ error: `expected encode, generate or quit, found ${line}` });
}
process.exit(0);
