/** Cross-entropy of the labelled tokens: imitation. */
import { crossEntropy } from 'onnx-grad';
import { type LabelTerm, weighted } from './term.js';

/** The sum of weights times -log p(target). Output `crossEntropy` [labels]. */
export const crossEntropyTerm = (_: Record<never, never>): LabelTerm => ({
  outputs: [{ name: 'crossEntropy' }],
  reads: ({ weight }) => weight !== 0,
  declare: ({ graph, weights }) => ({
    values: ({ logits, targets }) => crossEntropy(logits, targets),
    loss(losses) {
      graph.output('crossEntropy', losses);
      return weighted(weights(), losses);
    },
  }),
  feeds: () => ({}),
});
