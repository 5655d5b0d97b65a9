/**
 * Several callers embed queries at the same time, each with settings of its own, as in a server: the model writes their
 * reasoning in shared steps. Prints how close each vector is to a document, and how the reasoning of one moves it there.
 *
 *     npm run build && node examples/dist/concurrent-queries.js runs/own/run/model
 */
import { type EmbedRequest, loadRetriever } from 'search-r3';

const [model = 'runs/own/run/model'] = process.argv.slice(2);
const text = 'who makes hats in Elmo';
const sampled = { text, reasoning: 'on', temperature: 1, maxNewTokens: 24 } as const;

const callers: Record<string, EmbedRequest> = {
  direct: { text },
  reasoned: { text, reasoning: 'on', maxNewTokens: 24 },
  'four samples': { ...sampled, samples: 4, seed: 1 },
  'samples and direct': { ...sampled, samples: 4, seed: 1, fusion: 'direct+mean' },
  'own reasoning': { text, reasoning: 'hats of Elmo , made by hand' },
};

await using retriever = await loadRetriever(model);
const document = await retriever.submit({
  text: 'The hats of Elmo In Elmo they make hats by hand.',
  role: 'document',
});

// One caller gives up at the first words. The others do not notice.
const impatience = new AbortController();
const impatient = retriever
  .submit({ ...sampled, minNewTokens: 24, signal: impatience.signal, onToken: () => impatience.abort() })
  .catch((error: Error) => error.name);

await Promise.all(
  Object.entries(callers).map(async ([name, request]) => {
    const { vector, usage } = await retriever.submit(request);
    const tokens = `${usage.promptTokens} + ${usage.reasoningTokens} tokens`;
    console.log(`${name}: ${cosine(vector, document.vector).toFixed(3)} (${tokens})`);
  }),
);
const outcome = await impatient;
console.log(`impatient: ${typeof outcome === 'string' ? outcome : 'done before a word was written'}`);

// The vector that the query would have had after each token of its reasoning.
const { reasoning: [written] = [] } = await retriever.submit({ ...sampled, minNewTokens: 4 });
const tokens = written?.tokens ?? [];
const curve = await Promise.all(
  [...tokens.keys(), tokens.length].map((length) =>
    retriever.probe({ text, written: tokens.slice(0, length), maxNewTokens: 24 }),
  ),
);
console.log(`along the way: ${curve.map((vector) => cosine(vector, document.vector).toFixed(2)).join(' ')}`);

/** Embeddings have length 1. */
function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
}
