/** The counts of a BEIR collection. */
import { documentText, isBlank, loadBeir, ownDocuments } from '../../dataset/index.js';
import type { Inspection } from './inspection.js';
import { pairs, table } from './text.js';

export async function inspectCollection(path: string): Promise<Inspection> {
  // Counts judgements of missing documents instead of rejecting them: broken collections can be inspected too.
  const collection = await loadBeir(path, { allowMissing: true });
  const { corpus, queries, qrels } = collection;
  const documents = new Set(corpus.map(({ id }) => id));
  const splits = [...qrels].map(([split, judged]) => {
    const pairsOf = [...judged.values()].flatMap((grades) => [...grades]);
    return {
      split,
      queries: judged.size,
      judgements: pairsOf.length,
      relevant: pairsOf.filter(([, grade]) => grade > 0).length,
      missingDocuments: pairsOf.filter(([id]) => !documents.has(id)).length,
    };
  });
  const characters = corpus.reduce((sum, { title = '', text }) => sum + title.length + text.length, 0);
  const value = {
    kind: 'collection',
    path,
    documents: corpus.length,
    meanDocumentCharacters: characters / corpus.length,
    documentsWithoutText: corpus.filter((document) => isBlank(documentText(document))).length,
    queries: queries.size,
    queriesThatAreDocuments: ownDocuments(collection).size,
    splits,
  };
  return {
    value,
    text: () =>
      [
        `Collection ${path}`,
        pairs([
          ['documents', value.documents],
          ['mean characters of a document', Math.round(value.meanDocumentCharacters)],
          ['documents without text', value.documentsWithoutText],
          ['queries', value.queries],
          ['queries that are documents', value.queriesThatAreDocuments],
        ]),
        table(
          ['split', 'queries', 'judgements', 'relevant', 'of missing documents'],
          splits.map((s) => [s.split, s.queries, s.judgements, s.relevant, s.missingDocuments]),
        ),
      ].join('\n\n'),
  };
}
