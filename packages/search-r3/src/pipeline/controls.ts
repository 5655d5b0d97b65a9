/** Runs the controls of `evaluate/controls.ts`: what retrieval is worth with other texts in place of the reasoning. */
import type { Qrels } from '../dataset/index.js';
import type { Embedder } from '../embed/index.js';
import {
  CONTROLS,
  type ControlScore,
  controlTexts,
  pairedScores,
  type RetrieverEvaluation,
  type RetrieverRun,
  randomisationTest,
  renderTable,
  scoreRankings,
  type Verdict,
  verdictOf,
} from '../evaluate/index.js';
import { InputError, type PartProgress } from '../run/index.js';

/** Lengths in tokens at which the reasoning is cut. */
const CUTS = [0, 2, 4, 8, 16, 32, 64, 128, 256];

export interface ControlReport {
  /** nDCG@10 of direct and of reasoned vectors. */
  direct: number;
  reasoned: number;
  /** Two-sided, of their difference. */
  p: number;
  controls: ControlScore[];
  /** nDCG@10 where the reasoning is cut after so many tokens. */
  curve: { tokens: number; score: number }[];
  verdict: Verdict;
}

export interface ControlOptions {
  seed: number;
  maxLength?: number | undefined;
  maxNewTokens?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((event: PartProgress) => void) | undefined;
}

/** Requests that are under way at once. */
const TOGETHER = 64;

/**
 * @param run must have ranked `direct` and `reasoned`.
 * @param texts of the judged queries, by id.
 * @throws InputError for fewer than two reasoned queries.
 */
export async function runControls(
  embedder: Embedder,
  retrieval: RetrieverEvaluation,
  { run, qrels, texts }: { run: RetrieverRun; qrels: Qrels; texts: ReadonlyMap<string, string> },
  options: ControlOptions,
): Promise<ControlReport> {
  const { seed, maxLength, maxNewTokens, signal } = options;
  const { direct, reasoned } = run.rankings;
  const ids = [...run.reasoned.keys()];
  if (direct === undefined || reasoned === undefined || ids.length < 2) {
    const expected = 'the systems direct and reasoned on two or more queries';
    throw new InputError({
      source: 'evaluate',
      field: 'controls',
      expected,
      found: `${ids.length} reasoned`,
    });
  }
  const written = ids.map((id) => ({
    query: texts.get(id) ?? '',
    reasoning: run.reasoned.get(id)?.reasoning ?? '',
  }));
  const judged: Qrels = new Map(
    ids.flatMap((id) => (qrels.has(id) ? [[id, qrels.get(id) ?? new Map()]] : [])),
  );
  const scored = (rankings: Parameters<typeof scoreRankings>[1]) =>
    scoreRankings(judged, rankings, ['ndcg@10'])['ndcg@10'];
  const limits = {
    ...(maxLength !== undefined && { maxLength }),
    ...(maxNewTokens !== undefined && { maxNewTokens }),
    ...(signal && { signal }),
  };
  const [base, full] = [scored(direct), scored(reasoned)];
  const test = (a: typeof base, b: typeof base) =>
    randomisationTest(...pairedScores(a.perQuery, b.perQuery), { seed });
  const gain = test(base, full);

  const total = CONTROLS.length + CUTS.length;
  let done = 0;
  const report = () => options.onProgress?.({ part: 'controls', done: ++done, total });
  const ranked = async (vector: (at: number) => Promise<Float32Array>) => {
    const vectors = new Float32Array(ids.length * embedder.dimension);
    for (let from = 0; from < ids.length; from += TOGETHER) {
      const part = ids.slice(from, from + TOGETHER).map((_, i) => vector(from + i));
      for (const [i, own] of (await Promise.all(part)).entries()) {
        vectors.set(own, (from + i) * embedder.dimension);
      }
    }
    const found = scored(await retrieval.search(ids, vectors));
    report();
    return found;
  };

  // What is read again may be more tokens than what was written.
  const most = maxNewTokens ?? embedder.limits.maxNewTokens;
  const tokensOf = async (texts: readonly string[]) =>
    (await embedder.model.tokenizer.encodeBatch(texts)).map((tokens) => tokens.slice(0, most));
  const after = (tokens: readonly (readonly number[])[]) =>
    ranked((at) => embedder.probe({ text: written[at]?.query ?? '', written: tokens[at] ?? [], ...limits }));
  const controls: ControlScore[] = [];
  for (const control of CONTROLS) {
    const found = await after(await tokensOf(controlTexts(control, written, seed)));
    const kept = gain.difference > 0 ? (found.mean - base.mean) / gain.difference : null;
    controls.push({ control, score: found.mean, kept, p: test(full, found).p });
  }
  const tokens = await tokensOf(written.map(({ reasoning }) => reasoning));
  const longest = Math.max(...tokens.map(({ length }) => length));
  const curve: ControlReport['curve'] = [];
  for (const cut of CUTS.filter((length) => length === 0 || length < longest)) {
    const found = await after(tokens.map((own) => own.slice(0, cut)));
    curve.push({ tokens: cut, score: found.mean });
  }
  return {
    direct: base.mean,
    reasoned: full.mean,
    p: gain.p,
    controls,
    curve,
    verdict: verdictOf(gain, controls),
  };
}

const SENTENCES: Readonly<Record<Verdict, string>> = {
  reasoning:
    'The gain is one of reasoning: filler, the query again and the reasoning about another query lose two thirds of it or more.',
  length: 'The gain is one of length: filler of the same length keeps two thirds of it or more.',
  prompt:
    'The gain is one of the prompt: the query again or the reasoning about another query keeps two thirds of it or more.',
  part: 'A part of the gain is one of reasoning: other texts in its place keep between one and two thirds of it.',
  none: 'Reasoning brings no gain: it is not above the direct vectors with p below 0.05.',
};

/** The report in words. */
export function describeControls({ direct, reasoned, p, controls, curve, verdict }: ControlReport): string {
  const chance = (value: number) => (value < 0.0001 ? '<0.0001' : value.toFixed(4));
  const share = (kept: number | null) => (kept === null ? '' : `${(100 * kept).toFixed(0)} %`);
  const table = renderTable([
    ['in place of the reasoning', 'ndcg@10', 'of the gain', 'p'],
    ['nothing (direct)', direct.toFixed(3), '', chance(p)],
    ['the reasoning itself', reasoned.toFixed(3), '', ''],
    ...controls.map((own) => [NAMES[own.control], own.score.toFixed(3), share(own.kept), chance(own.p)]),
    ...curve.map(({ tokens, score }) => [`its first ${tokens} tokens`, score.toFixed(3), '', '']),
  ]);
  return `${table}\np: of the difference to the reasoning. ${SENTENCES[verdict]}\n`;
}

const NAMES: Readonly<Record<ControlScore['control'], string>> = {
  shuffled: 'its words, shuffled',
  other: "another query's",
  filler: 'filler words',
  repeated: 'the query, repeated',
};
