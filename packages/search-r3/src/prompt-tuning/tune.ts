/** Scores prompts on training data without training: how well a base retrieves where each of them reads it. */
import { directPrompts } from '../checkpoint/index.js';
import { type Collection, documentText, type Qrels } from '../dataset/index.js';
import { compareHits, scoreRankings } from '../evaluate/index.js';
import { Model } from '../model/index.js';
import { InputError, randomStream } from '../run/index.js';
import { type PromptCandidate, promptCandidates } from './leads.js';
import { centring, type VectorMap, type Vectors, whitening } from './whitening.js';

export interface TunePromptOptions {
  /** Judged queries to score with. Default 150. */
  queries?: number;
  /** Documents to rank: those that are judged relevant, and others. Default 600. */
  documents?: number;
  /** Longest prompt in tokens. Default 160. */
  maxLength?: number;
  /** Draws queries and documents. Default 0. */
  seed?: number;
  /** Called with each score as it comes. */
  onScore?: (score: PromptScore) => void;
  signal?: AbortSignal;
}

/** nDCG@10 of a candidate: of its vectors as they are, centred, and whitened by the documents. */
export interface PromptScore extends PromptCandidate {
  raw: number;
  centred: number;
  whitened: number;
}

/**
 * Scores prompts for training on judged queries, best first by `raw`: what training starts from.
 * @param path of a base model.
 * @throws InputError if it is no model, or if no query is judged.
 */
export async function tunePrompt(
  path: string,
  { corpus, queries }: Pick<Collection, 'corpus' | 'queries'>,
  qrels: Qrels,
  options: TunePromptOptions = {},
): Promise<PromptScore[]> {
  const { maxLength = 160, signal } = options;
  const sample = sampleOf(corpus, qrels, options);
  const texts = new Map(corpus.map((document) => [document.id, documentText(document)]));
  const own = sample.queries.map((id) => queries.get(id)?.text ?? '');
  const documents = sample.documents.map((id) => texts.get(id) ?? '');
  const judged: Qrels = new Map(sample.queries.map((id) => [id, qrels.get(id) ?? new Map()]));
  const scores: PromptScore[] = [];
  // Twice: the default prompts need a new token, and the others none.
  for (const prompts of ['topics', 'search-r3'] as const) {
    const model = await Model.load(path, { prompts, signal });
    try {
      const candidates = (await promptCandidates(model.tokenizer)).filter(
        ({ untrained }) => (untrained === undefined) === (prompts === 'search-r3'),
      );
      for (const candidate of candidates) {
        const how = candidate.untrained ?? model.prompts;
        const embedded = async (of: string[], role: 'query' | 'document'): Promise<Vectors> => {
          const prompted = await directPrompts(model.tokenizer, how, of, role, { maxTokens: maxLength });
          const sequences = prompted.map(({ ids }) => ids);
          const data = await (await model.encoder()).encode(sequences, { ...(signal && { signal }) });
          return { data, width: model.config.hiddenSize };
        };
        const [ours, theirs] = [await embedded(own, 'query'), await embedded(documents, 'document')];
        const score = (map: VectorMap) => ndcg(judged, sample, map(ours), map(theirs));
        const found = {
          raw: score((vectors) => vectors),
          centred: score(centring(theirs)),
          whitened: score(whitening(theirs)),
        };
        scores.push({ ...candidate, ...found });
        options.onScore?.(scores.at(-1) as PromptScore);
      }
    } finally {
      await model.dispose();
    }
  }
  return scores.sort((a, b) => b.raw - a.raw);
}

interface Sample {
  queries: string[];
  documents: string[];
}

/** Judged queries, the documents that answer them, and others. */
function sampleOf(
  corpus: Collection['corpus'],
  qrels: Qrels,
  { queries = 150, documents = 600, seed = 0 }: TunePromptOptions,
): Sample {
  const there = new Set(corpus.map(({ id }) => id));
  const relevant = (id: string) =>
    [...(qrels.get(id) ?? [])].flatMap(([document, grade]) =>
      grade > 0 && there.has(document) ? [document] : [],
    );
  const judged = [...qrels.keys()].filter((id) => relevant(id).length > 0);
  if (judged.length === 0) {
    throw new InputError({ source: 'qrels', expected: 'queries with a relevant document', found: 'none' });
  }
  const chosen = randomStream(seed, 'tune-prompt', 'queries').sample(judged, queries);
  const answers = new Set(chosen.flatMap(relevant));
  const others = corpus.map(({ id }) => id).filter((id) => !answers.has(id));
  const more = randomStream(seed, 'tune-prompt', 'documents').sample(
    others,
    Math.max(0, documents - answers.size),
  );
  return { queries: chosen, documents: [...answers, ...more] };
}

function ndcg(qrels: Qrels, { queries, documents }: Sample, ours: Vectors, theirs: Vectors): number {
  const { width } = ours;
  const rankings = new Map(
    queries.map((id, query) => {
      const hits = documents.map((document, row) => {
        let score = 0;
        for (let i = 0; i < width; i++)
          score += (ours.data[query * width + i] as number) * (theirs.data[row * width + i] as number);
        return { id: document, score };
      });
      return [
        id,
        new Map(
          hits
            .sort(compareHits)
            .slice(0, 10)
            .map((hit) => [hit.id, hit.score]),
        ),
      ];
    }),
  );
  return scoreRankings(qrels, rankings, ['ndcg@10'])['ndcg@10'].mean;
}
