/** Opens a GGUF file: its header, and errors for files that are something else. */
import { type FileHandle, open } from 'node:fs/promises';
import { InputError } from '../../run/errors.js';
import { describeReadFailure } from '../../run/files.js';
import { type StandIn, standIn } from '../../run/stand-in.js';
import { type GgufHeader, readHeader } from './header.js';

/** Bytes that identify other kinds of files. */
const HEAD_BYTES = 512;
const MAGIC = 'GGUF';
/** The formats of llama.cpp before GGUF; their magic numbers are words, so their bytes are reversed. */
const EARLIER = ['lmgg', 'fmgg', 'tjgg'];

export interface OpenFile extends GgufHeader {
  file: FileHandle;
}

/** Opens a file and checks its header. Close `file` after use. @throws InputError if it is not a valid GGUF file. */
export async function openGgufFile(path: string): Promise<OpenFile> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw new InputError({ source: path, expected: 'a readable file', found: describeReadFailure(error) });
  });
  try {
    const { size } = await file.stat();
    const { buffer, bytesRead } = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
    const head = buffer.toString('latin1', 0, bytesRead);
    if (!head.startsWith(MAGIC)) {
      throw new InputError({ source: path, expected: 'a GGUF file', ...otherFormat(head) });
    }
    return { file, ...readHeader(file.fd, size, path) };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function otherFormat(head: string): StandIn | { found: string } {
  if (head === '') return { found: 'an empty file', remedy: 'Fetch it again.' };
  const start = head.slice(0, 4);
  if (EARLIER.includes(start)) {
    const remedy = 'Convert the model again with a current llama.cpp.';
    return { found: 'a GGML file, the format before GGUF', remedy };
  }
  if (head.startsWith('{', 8)) {
    return { found: 'a safetensors file', remedy: 'Give the folder of the model, not the file.' };
  }
  return standIn(head) ?? { found: `a file that begins with ${JSON.stringify(start)}` };
}
