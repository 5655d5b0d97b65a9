/** The arrays and metadata of a state file. */
import { readStateFile } from '../../run/state-file.js';
import type { Inspection } from './inspection.js';
import { bytes, table } from './text.js';

export async function inspectState(path: string): Promise<Inspection> {
  const { metadata, arrays } = await readStateFile(path);
  const listed = Object.entries(arrays).map(([name, array]) => ({
    name,
    type: array.constructor.name,
    length: array.length,
    bytes: array.byteLength,
  }));
  const value = { kind: 'state', path, metadata, arrays: listed };
  return {
    value,
    text: () =>
      [
        `State file ${path}, checksum correct`,
        table(
          ['array', 'type', 'length', 'size'],
          listed.map((array) => [array.name, array.type, array.length, bytes(array.bytes)]),
        ),
        `Metadata ${JSON.stringify(metadata, null, 2)}`,
      ].join('\n\n'),
  };
}
