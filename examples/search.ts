/**
 * Indexes documents from memory, with extra fields, and searches them as a server would: load once, run many queries at
 * the same time, each with a time limit.
 *
 *     npm run build && node examples/dist/search.js runs/own/run/model runs/own/index
 */
import { InterruptedError, loadRetriever } from 'search-r3';

const [model = 'runs/own/run/model', folder = 'runs/own/index'] = process.argv.slice(2);

await using retriever = await loadRetriever(model);

const documents = ['Arlen', 'Brook', 'Cavel', 'Dorne', 'Elmo', 'Farro'].map((town, i) => ({
  id: `hats-${i}`,
  title: `The hats of ${town}`,
  text: `In ${town} they make hats by hand.`,
  url: `https://example.org/${town.toLowerCase()}/hats`,
}));
const { documents: count, truncated } = await retriever.index(documents, { out: folder });
console.log(`${count} documents, ${truncated} cut to fit`);

// Opening fails if another model made the index.
await using index = await retriever.open(folder);

const answer = async (query: string) => {
  try {
    const signal = AbortSignal.timeout(60_000);
    const [found] = await index.search([query], { k: 3, signal });
    return found;
  } catch (error) {
    if (error instanceof InterruptedError) return undefined;
    throw error;
  }
};
for (const found of await Promise.all(['hats from Farro', 'who makes hats in Elmo'].map(answer))) {
  if (found === undefined) continue;
  console.log(`\n${found.query}${found.truncated ? ' (cut to fit)' : ''}\n  reasoning: ${found.reasoning}`);
  for (const { rank, score, id, url } of found.results)
    console.log(`  ${rank}. ${score.toFixed(3)} ${id} ${url}`);
}
