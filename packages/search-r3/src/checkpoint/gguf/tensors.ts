/** The tensors of an open GGUF file as parameters: under the names of Hugging Face, dequantised, rows in their order. */
import type { FileHandle } from 'node:fs/promises';
import { InputError } from '../../run/errors.js';
import { elementCount } from '../parameters.js';
import { lookUp, readFully, type TensorSource } from '../safetensors.js';
import { DEQUANTISE } from './dequantise.js';
import type { GgufTensor } from './header.js';
import { interleavedHeads, parameterName, rowInFile } from './names.js';
import type { GgmlType } from './types.js';

/** Bytes of blocks held at once while they are dequantised. */
const CHUNK_BYTES = 1 << 24;

/** The attention heads that decide the order of rows. */
export interface Heads {
  architecture: string;
  heads: number;
  kvHeads: number;
}

/** Where the blocks of a parameter are, for readers that use them as they are stored. */
export interface StoredBlocks {
  path: string;
  type: GgmlType;
  /** Position of the first byte in the file, and number of bytes. */
  offset: number;
  bytes: number;
  /** Rows first. */
  shape: readonly number[];
  /** The row of the file that holds a row of the parameter; a row is a whole number of blocks. */
  rowInFile: (row: number) => number;
}

/** A `TensorSource` that also tells where the stored blocks are. */
export interface GgufTensors extends TensorSource {
  /** @throws InputError for an unknown name. */
  blocks(name: string): StoredBlocks;
}

/** @param tensors by their names in the file. */
export function ggufTensors(
  file: FileHandle,
  tensors: ReadonlyMap<string, GgufTensor>,
  shape: Heads,
  path: string,
): GgufTensors {
  const entries = new Map([...tensors].map(([name, tensor]) => [parameterName(name), tensor]));
  const find = (name: string): GgufTensor => lookUp(entries, name, path);
  const headRows = ({ name, shape: [rows = 0] }: GgufTensor): number | undefined => {
    const heads = interleavedHeads(name, shape);
    return heads === undefined || rows % (2 * heads) !== 0 ? undefined : rows / heads;
  };
  const check = (name: string) => {
    valuesOf(find(name), path);
  };
  const readInto = (name: string, start: number, out: Float32Array) => {
    const tensor = find(name);
    const rows = headRows(tensor);
    return rows === undefined
      ? readValues(file, tensor, start, out, path)
      : readHeads(file, tensor, rows, start, out, path);
  };
  return {
    entries,
    notes: [],
    check,
    read: async (name) => {
      check(name);
      const { shape } = find(name);
      const data = new Float32Array(elementCount(shape));
      await readInto(name, 0, data);
      return { data, shape };
    },
    readInto,
    locate: () => undefined,
    blocks: (name) => {
      const tensor = find(name);
      const rows = headRows(tensor);
      return {
        path,
        type: tensor.type,
        offset: tensor.begin,
        bytes: tensor.end - tensor.begin,
        shape: tensor.shape,
        rowInFile: (row) => (rows === undefined ? row : rowInFile(row, rows)),
      };
    },
    close: () => file.close(),
  };
}

/** @throws InputError if values of this type cannot be read. */
function valuesOf({ name, dtype }: GgufTensor, source: string) {
  const dequantise = DEQUANTISE.get(dtype);
  if (dequantise !== undefined) return dequantise;
  throw new InputError({
    source,
    field: name,
    expected: `one of the types ${[...DEQUANTISE.keys()].join(', ')}`,
    found: dtype,
    remedy: 'Use the same model in another quantisation, such as Q8_0 or Q4_K_M.',
  });
}

/** Fills `out` with elements from `start` on, in the order of the file. */
async function readValues(
  file: FileHandle,
  tensor: GgufTensor,
  start: number,
  out: Float32Array,
  source: string,
): Promise<void> {
  const dequantise = valuesOf(tensor, source);
  const { elements, bytes: blockBytes } = tensor.type;
  const end = start + out.length;
  const blocks = Math.max(1, Math.floor(CHUNK_BYTES / blockBytes));
  const [first, last] = [Math.floor(start / elements), Math.ceil(end / elements)];
  const chunk = new Uint8Array(Math.min(blocks, last - first) * blockBytes);
  for (let at = first; at < last; at += blocks) {
    const count = Math.min(blocks, last - at);
    const bytes = chunk.subarray(0, count * blockBytes);
    await readFully(file, bytes, tensor.begin + at * blockBytes, source);
    const [from, to] = [at * elements, (at + count) * elements];
    if (from >= start && to <= end) {
      dequantise(bytes, out.subarray(from - start, to - start));
      continue;
    }
    // The range begins or ends within a block.
    const whole = new Float32Array(to - from);
    dequantise(bytes, whole);
    out.set(whole.subarray(Math.max(0, start - from), Math.min(to, end) - from), Math.max(0, from - start));
  }
}

/** `readValues` in the order of the parameter, for heads of `headRows` interleaved rows. */
async function readHeads(
  file: FileHandle,
  tensor: GgufTensor,
  headRows: number,
  start: number,
  out: Float32Array,
  source: string,
): Promise<void> {
  const width = elementCount(tensor.shape.slice(1));
  const size = headRows * width;
  const head = new Float32Array(size);
  const end = start + out.length;
  for (let from = Math.floor(start / size) * size; from < end; from += size) {
    await readValues(file, tensor, from, head, source);
    for (let row = 0; row < headRows; row++) {
      const at = from + row * width;
      const [begin, stop] = [Math.max(start, at), Math.min(end, at + width)];
      if (begin >= stop) continue;
      const stored = rowInFile(row, headRows) * width - at;
      out.set(head.subarray(stored + begin, stored + stop), begin - start);
    }
  }
}
