/**
 * InfoNCE (van den Oord et al. 2018, arXiv 1807.03748) from anchors to documents, over cosine / temperature. Documents
 * that answer an anchor too are masked.
 */
import { add, crossEntropy, f32, mul } from 'onnx-grad';
import { type EmbeddingTerm, perAnchor, weighted } from './term.js';

export interface InfoNceOptions {
  /** The paper's tau. */
  temperature: number;
}

const EXCLUDED = -1e9;

/** Output `infoNce` [anchors]. */
export const infoNceTerm = ({ temperature }: InfoNceOptions): EmbeddingTerm => ({
  output: 'infoNce',
  declare({ graph, positives }) {
    const mask = graph.input('contrastive_mask', 'float32', ['anchor_count', 'document_count']);
    return {
      values: (cosines) => crossEntropy(add(mul(cosines, graph.scalar(1 / temperature)), mask), positives),
      loss: (losses) => weighted(graph.input('info_nce_weights', 'float32', ['anchor_count']), losses),
    };
  },
  feeds({ anchors, documents }) {
    const mask = new Float32Array(anchors.length * documents.length);
    for (const [row, { falseNegatives }] of anchors.entries()) {
      for (const column of falseNegatives) mask[row * documents.length + column] = EXCLUDED;
    }
    return {
      contrastive_mask: f32(mask, [anchors.length, documents.length]),
      info_nce_weights: perAnchor(anchors, ({ infoNceWeight }) => infoNceWeight),
    };
  },
});
