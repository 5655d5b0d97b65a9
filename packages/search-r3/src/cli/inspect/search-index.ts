/** What the manifest of a saved index says. */
import { describeIndex } from '../../vectors/index.js';
import type { Inspection } from './inspection.js';
import { bytes, pairs } from './text.js';

export async function inspectIndex(path: string): Promise<Inspection> {
  const { manifest, rows, removed, files } = await describeIndex(path);
  const { dimension, created, fingerprint, ann, graph } = manifest;
  const documents = rows - removed;
  const size = Object.values(files).reduce((sum, own) => sum + own, graph?.file.bytes ?? 0);
  const value = {
    kind: 'index',
    path,
    documents,
    /** Rows of documents that were deleted or replaced. */
    removed,
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
          ['documents', documents],
          ['deleted or replaced', removed],
          ['dimension', dimension],
          ['size', bytes(size)],
          ['created', created],
          ['search', ann ? 'approximate (a proximity graph)' : 'exact'],
          ...Object.entries(fingerprint),
        ]),
      ].join('\n\n'),
  };
}
