/**
 * The terms on embeddings as a graph: cosines from anchors to documents, and what the terms make of them. Inputs by
 * position among the embeddings [embeds, width] (unit rows): `anchors` [anchor_count], `documents` [document_count]; by
 * column among the documents: `positives` [anchor_count].
 */
import { add, gatherRows, type HostTensor, i64, matmul, mul, slice, type Value } from 'onnx-grad';
import { normalizeRows } from '../decoder/index.js';
import type { ContrastiveBatch } from './batch.js';
import { embeddingTerms, type Objective } from './terms/index.js';

/**
 * The weighted sum of the terms of an objective, which has one at least; outputs are those of the terms.
 * @throws RangeError if a shorter length is not shorter.
 */
export function contrastiveLoss(embeddings: Value, objective: Objective): Value {
  const { graph } = embeddings;
  const { matryoshka = [] } = objective;
  const index = (name: string, dim: string) => graph.input(name, 'int64', [dim]);
  const rows = { anchors: index('anchors', 'anchor_count'), documents: index('documents', 'document_count') };
  const positives = index('positives', 'anchor_count');
  const cosines = [embeddings, ...matryoshka.map((length) => shortened(embeddings, length))].map((vectors) =>
    matmul(gatherRows(vectors, rows.anchors), gatherRows(vectors, rows.documents), { transB: true }),
  );
  const losses = embeddingTerms(objective).map((term) => {
    const declared = term.declare({ graph, positives });
    const values = mean(cosines.map((each) => declared.values(each)));
    graph.output(term.output, values);
    return declared.loss(values);
  });
  return losses.reduce((total, loss) => add(total, loss));
}

/** The first numbers of each row, scaled to length 1 again. */
function shortened(embeddings: Value, length: number): Value {
  const [, width = 0] = embeddings.shape;
  if (length >= Number(width))
    throw new RangeError(`matryoshka: expected lengths below ${width}, found ${length}`);
  return normalizeRows(slice(embeddings, 1, 0, length));
}

function mean(values: readonly Value[]): Value {
  const sum = values.reduce((total, value) => add(total, value));
  return values.length === 1 ? sum : mul(sum, sum.graph.scalar(1 / values.length));
}

/** Feeds of the inputs; `embedding` maps a sequence to its row among the embeddings. */
export function contrastiveFeeds(
  batch: ContrastiveBatch,
  embedding: (sequence: number) => number,
  objective: Objective,
): Record<string, HostTensor> {
  const { anchors, documents } = batch;
  const indices = (values: readonly number[]) => i64(values, [values.length]);
  return Object.assign(
    {
      anchors: indices(anchors.map(({ sequence }) => embedding(sequence))),
      documents: indices(documents.map(embedding)),
      positives: indices(anchors.map(({ positive }) => positive)),
    },
    ...embeddingTerms(objective).map((term) => term.feeds(batch)),
  );
}
