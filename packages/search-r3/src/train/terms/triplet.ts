/** The triplet margin (Schroff et al. 2015, arXiv 1503.03832) on cosines, between the positive and a hard negative. */
import { add, gatherElements, i64, relu, reshape, sub, type Value } from 'onnx-grad';
import { type EmbeddingTerm, perAnchor, weighted } from './term.js';

export interface TripletOptions {
  /** On cosines. */
  margin: number;
}

/** Output `triplet` [anchors]; that of an anchor without a hard negative is the margin, and has no weight. */
export const tripletTerm = ({ margin }: TripletOptions): EmbeddingTerm => ({
  output: 'triplet',
  declare({ graph, positives }) {
    const negatives = graph.input('negatives', 'int64', ['anchor_count']);
    return {
      values(cosines) {
        const cosine = (columns: Value) =>
          reshape(gatherElements(cosines, reshape(columns, ['anchor_count', 1])), ['anchor_count']);
        return relu(add(sub(cosine(negatives), cosine(positives)), graph.scalar(margin)));
      },
      loss: (losses) => weighted(graph.input('triplet_weights', 'float32', ['anchor_count']), losses),
    };
  },
  feeds: ({ anchors }) => ({
    negatives: i64(
      anchors.map(({ negative, positive }) => negative ?? positive),
      [anchors.length],
    ),
    triplet_weights: perAnchor(anchors, ({ negative, tripletWeight }) =>
      negative === undefined ? 0 : tripletWeight,
    ),
  }),
});
