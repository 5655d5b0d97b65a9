/**
 * Our side of the `real` benchmark at one precision, in its own process so that its memory can be measured. Arguments: a
 * model, a file of `Inputs`, the precision, the number of threads. Requests and answers as bench/peers/real_transformers.py
 * has them, without batch sizes: ours are the library's defaults. And `memory`: {"resident", "anonymous", "peak"} in MB.
 */
import { createInterface } from 'node:readline';
import { VERSION } from 'search-r3';
import type { Precision } from 'search-r3/decoder';
import { peakMemoryMb, residentMemoryMb } from './machine.js';
import { type Inputs, readInputs } from './real-inputs.js';
import { type Ours, openOurs } from './real-ours.js';

async function greedy({ tokenizer, generate }: Ours, { chats, answerTokens }: Inputs) {
  const chatOptions = { addGenerationPrompt: true };
  const rendered = chats.map((content) =>
    tokenizer.applyChatTemplate([{ role: 'user', content }], chatOptions),
  );
  const prompts = (await Promise.all(rendered)).map(({ ids }) => ids);
  const answers = await generate(prompts, answerTokens);
  return { prompts, answers, texts: answers.map((ids) => tokenizer.decode(ids)) };
}

async function score({ encode, logProbabilities }: Ours, { scored }: Inputs) {
  let logLikelihood = 0;
  let predicted = 0;
  for (const ids of scored) {
    const own = await logProbabilities(ids);
    logLikelihood += own.reduce((total, value) => total + value, 0);
    predicted += own.length;
  }
  const vectors = Buffer.from((await encode(scored)).buffer).toString('base64');
  return { sequences: scored.length, logLikelihood, predicted, vectors };
}

async function timed(work: () => Promise<number>) {
  const started = performance.now();
  const tokens = await work();
  return { tokens, seconds: (performance.now() - started) / 1000, peakMb: peakMemoryMb() };
}

const count = (sequences: readonly (readonly number[])[]) =>
  sequences.reduce((total, ids) => total + ids.length, 0);

async function answer(ours: Ours, inputs: Inputs, request: string): Promise<object> {
  const [word, argument] = request.split(' ');
  switch (word) {
    case 'encode':
      return timed(async () => {
        await ours.encode(inputs.abstracts);
        return count(inputs.abstracts);
      });
    case 'generate': {
      const prompts = inputs.prompts.slice(0, Number(argument));
      return timed(async () => count(await ours.generate(prompts, inputs.newTokens)));
    }
    case 'greedy':
      return greedy(ours, inputs);
    case 'score':
      return score(ours, inputs);
    case 'memory':
      return { ...residentMemoryMb(), peak: peakMemoryMb() };
    default:
      return { error: `expected encode, generate, greedy, score or memory, found ${request}` };
  }
}

const [model, inputsPath, precision, threads] = process.argv.slice(2);
const inputs = await readInputs(inputsPath);
const started = performance.now();
const ours = await openOurs(model, precision as Precision, Number(threads));
const loadSeconds = (performance.now() - started) / 1000;
console.log(JSON.stringify({ version: `search-r3 ${VERSION}`, loadSeconds }));
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await answer(ours, inputs, line)));
}
