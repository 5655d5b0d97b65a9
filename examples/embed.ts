/**
 * Embeds documents and a query, directly and after reasoning, and prints their cosines.
 *
 *     npm run build && node examples/dist/embed.js runs/own/run/model "who makes hats in Elmo"
 */
import { loadRetriever } from 'search-r3';

const [model = 'runs/own/run/model', query = 'who makes hats in Elmo'] = process.argv.slice(2);
const texts = [
  'The hats of Elmo In Elmo they make hats by hand.',
  'The boats of Arlen In Arlen they make boats.',
];

// The model runs in its own thread. Leaving the scope releases it.
await using retriever = await loadRetriever(model);

const documents = await retriever.embed(texts, { role: 'document' });
const [direct] = await retriever.embed([query]);
const [reasoned] = await retriever.embed([query], {
  reasoning: true,
  onToken: ({ piece }) => process.stderr.write(piece),
});
process.stderr.write('\n');
if (direct === undefined || reasoned === undefined) throw new Error('one query, one embedding');

console.log(`${retriever.dimension} numbers from ${direct.tokens} tokens, cut to fit: ${direct.truncated}`);
console.log(`reasoning: ${reasoned.reasoning} (ended by itself: ${reasoned.completed})`);
for (const [i, { vector }] of documents.entries()) {
  console.log(
    `direct ${cosine(direct.vector, vector).toFixed(3)}  reasoned ${cosine(reasoned.vector, vector).toFixed(3)}  ${texts[i]}`,
  );
}

/** Embeddings have length 1. */
function cosine(a: Float32Array, b: Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * (b[i] as number), 0);
}
