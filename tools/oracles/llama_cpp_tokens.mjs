/**
 * Prints the ids that llama.cpp gives texts, one JSON list per line of stdin, which is a JSON object with `path` (a GGUF
 * file) and `text`. Argument: the folder of the npm package node-llama-cpp (3.21).
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const { getLlama } = await import(pathToFileURL(join(process.argv[2], 'dist/index.js')).href);
const llama = await getLlama({ gpu: false, build: 'never', logLevel: 'error' });
const models = new Map();
for await (const line of createInterface({ input: process.stdin })) {
  const { path, text } = JSON.parse(line);
  const model = models.get(path) ?? (await llama.loadModel({ modelPath: path, vocabOnly: true }));
  models.set(path, model);
  if (!process.stdout.write(`${JSON.stringify(model.tokenize(text, false))}\n`))
    await once(process.stdout, 'drain');
}
process.exit(0);
