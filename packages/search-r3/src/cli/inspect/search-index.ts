/** What the manifest of a saved index says. */
import { readManifest } from '../../vectors/index.js';
import type { Inspection } from './inspection.js';
import { bytes, pairs } from './text.js';

export async function inspectIndex(path: string): Promise<Inspection> {
  const { count, dimension, created, fingerprint, files, graph } = await readManifest(path);
  const size = Object.values(files).reduce((sum, file) => sum + (file?.bytes ?? 0), 0);
  const value = {
    kind: 'index',
    path,
    documents: count,
    dimension,
    bytes: size,
    created,
    graph: graph ?? null,
    fingerprint,
  };
  return {
    value,
    text: () =>
      [
        `Index ${path}`,
        pairs([
          ['documents', count],
          ['dimension', dimension],
          ['size', bytes(size)],
          ['created', created],
          ['search', graph === undefined ? 'exact' : 'approximate (a proximity graph)'],
          ['model', fingerprint.checkpoint],
          ['prompts', fingerprint.prompts],
        ]),
      ].join('\n\n'),
  };
}
