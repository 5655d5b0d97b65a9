/**
 * The terms on embeddings as a graph: cosines from anchors to documents, and what the terms make of them. Inputs by
 * position among the embeddings [embeds, width] (unit rows): `anchors` [anchor_count], `documents` [document_count]; by
 * column among the documents: `positives` [anchor_count].
 */
import { add, gatherRows, type HostTensor, i64, matmul, type Value } from 'onnx-grad';
import type { ContrastiveBatch } from './batch.js';
import { embeddingTerms, type Objective } from './terms/index.js';

/** The weighted sum of the terms of an objective, which has one at least; outputs are those of the terms. */
export function contrastiveLoss(embeddings: Value, objective: Objective): Value {
  const { graph } = embeddings;
  const index = (name: string, dim: string) => graph.input(name, 'int64', [dim]);
  const anchors = gatherRows(embeddings, index('anchors', 'anchor_count'));
  const documents = gatherRows(embeddings, index('documents', 'document_count'));
  const positives = index('positives', 'anchor_count');
  const cosines = matmul(anchors, documents, { transB: true });
  const losses = embeddingTerms(objective).map((term) => {
    const declared = term.declare({ graph, positives });
    const values = declared.values(cosines);
    graph.output(term.output, values);
    return declared.loss(values);
  });
  return losses.reduce((total, loss) => add(total, loss));
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
