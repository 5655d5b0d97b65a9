/** Recognises what is at a path by the files in it, and describes it. Each kind of thing has its own file. */
import { open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { InputError } from '../../run/errors.js';
import { describeReadFailure, whereElse } from '../../run/files.js';
import { standIn } from '../../run/stand-in.js';
import type { Inspection } from './inspection.js';

const KINDS =
  'a run folder (config.yaml, events.jsonl), a model folder (config.json), an adapter folder (adapter_config.json), an index (manifest.json), a BEIR folder (corpus.jsonl), a safetensors, a GGUF or a state file';

/** Files that identify a model folder whose config.json is missing. */
const MODEL_FILE =
  /^tokenizer\.json$|^(?:model|pytorch_model|adapter|consolidated).*\.|\.(?:safetensors|gguf)$/;

/** @throws InputError if nothing known is at `path`, or if it cannot be read. */
export async function inspect(path: string): Promise<Inspection> {
  const found = await stat(path).catch((error: unknown) => {
    throw new InputError({ source: path, expected: KINDS, found: describeReadFailure(error) });
  });
  return found.isDirectory() ? inspectFolder(path) : inspectFile(path);
}

async function inspectFolder(path: string): Promise<Inspection> {
  const names = await readdir(path);
  if (names.includes('config.yaml') && names.includes('events.jsonl')) {
    return (await import('./run.js')).inspectRun(path);
  }
  if (names.includes('adapter_config.json') && names.includes('adapter_model.safetensors')) {
    return (await import('./adapter.js')).inspectAdapter(path);
  }
  if (names.includes('config.json')) return (await import('./model.js')).inspectModel(path);
  // A checkpoint of a run has a manifest too, and its model inside.
  if (names.includes('manifest.json') && !names.includes('model')) {
    return (await import('./search-index.js')).inspectIndex(path);
  }
  if (names.includes('corpus.jsonl')) return (await import('./collection.js')).inspectCollection(path);
  if (names.some((name) => MODEL_FILE.test(name)) && !names.includes('model')) {
    return (await import('./model.js')).inspectModel(path);
  }
  const shown =
    names.length === 0 ? 'an empty folder' : `a folder with ${names.sort().slice(0, 5).join(', ')}`;
  const { modelInside } = await import('../../checkpoint/config.js');
  throw new InputError({
    source: path,
    expected: KINDS,
    found: `${shown}${names.length > 5 ? ', ...' : ''}`,
    ...(await whereElse(join(path, 'config.json'))),
    ...(await whereElse(join(path, 'corpus.jsonl'))),
    ...modelInside(path, names),
  });
}

async function inspectFile(path: string): Promise<Inspection> {
  if (path.endsWith('.safetensors')) return (await import('./model.js')).inspectSafetensors(path);
  const start = await firstBytes(path, 8);
  if (start.startsWith('GGUF')) return (await import('./model.js')).inspectModel(path);
  if (start === 'SR3STATE') return (await import('./state.js')).inspectState(path);
  const found = standIn(await firstBytes(path, 512)) ?? { found: 'a file of another kind' };
  throw new InputError({ source: path, expected: KINDS, ...found });
}

async function firstBytes(path: string, count: number): Promise<string> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(count), 0, count, 0);
    return buffer.toString('latin1', 0, bytesRead);
  } finally {
    await file.close();
  }
}
