/** Makes the reasoning targets of stage 1 as text, and turns them into tokens. */
import { InterruptedError, type ProgressReporter, ProgressTracker } from '../run/index.js';
import type { ReasoningTargets, TargetSourceName, TrainingQuery } from '../sft/index.js';
import type { Tokenizer } from '../tokenizer/index.js';
import { denseModel } from './dense.js';
import { TargetFilter } from './filter.js';
import { type Draft, SOURCES, type SourceOptions, type TargetData } from './sources.js';
import { type Target, TargetFile } from './target-file.js';

export interface MakeOptions extends SourceOptions {
  /** Where targets are kept, and found again. Default: in memory alone. */
  path?: string | undefined;
  /** Shown under `reasoning targets`. */
  progress?: ProgressReporter | undefined;
  signal?: AbortSignal | undefined;
}

/** Targets that are judged together. */
const PIECE = 32;

/**
 * Targets of the queries: those in the file, edited or not, and new ones of the rest, which are added to it.
 * @returns all targets of the file, by query id.
 * @throws InputError for a file that is none, and as the source does; InterruptedError when aborted: what there was by
 * then is in the file.
 */
export async function makeTargets(
  queries: readonly TrainingQuery[],
  data: TargetData,
  options: MakeOptions,
): Promise<ReadonlyMap<string, Target>> {
  const { reasoning, path, progress, signal, maxLength } = options;
  const { source } = reasoning;
  const file = await TargetFile.open(path, data.known);
  const missing = queries.filter(({ id }) => !file.targets.has(id));
  if (missing.length === 0) return file.targets;
  let done = queries.length - missing.length;
  const tracker = new ProgressTracker({
    ...{ stage: 'reasoning targets', unit: 'query', steps: queries.length, from: done },
    ...(progress && { reporter: progress }),
  });
  const filter = reasoning.filter
    ? new TargetFilter(data.dense ?? denseModel(data.base, maxLength), queries, data.document, signal)
    : undefined;
  // What need not be judged is kept as it comes.
  const size = filter === undefined ? 1 : PIECE;
  let piece: Draft[] = [];
  const keep = async () => {
    // The embed token follows a target: hence one less.
    await file.add(await finished(piece, source, data.base.tokenizer, reasoning.maxNewTokens - 1, filter));
    done += piece.length;
    tracker.update(done);
    piece = [];
  };
  try {
    for await (const draft of SOURCES[source](missing, data, options, signal)) {
      if (signal?.aborted) throw new InterruptedError('reasoning targets: stopped by the caller');
      piece.push(draft);
      if (piece.length === size) await keep();
    }
    if (piece.length > 0) await keep();
  } finally {
    if (filter !== undefined) await data.base.release();
  }
  return file.targets;
}

/** Drafts as they stand in the file: cut to `most` tokens, and judged where there is a filter. */
async function finished(
  drafts: readonly Draft[],
  source: TargetSourceName,
  tokenizer: Tokenizer,
  most: number,
  filter: TargetFilter | undefined,
): Promise<Target[]> {
  const written = await Promise.all(
    drafts.map(async ({ query, reasoning = '', style, kept = true, why }) => {
      const text = await cutToFit(tokenizer, reasoning.trim(), most);
      const about = { query: query.id, text: query.text, reasoning: text, source, ...(style && { style }) };
      const told = why ?? (text === '' ? `nothing from ${source}` : undefined);
      return {
        query,
        target: { ...about, kept: kept && text !== '', ...(told !== undefined && { why: told }) },
      };
    }),
  );
  const toJudge = filter === undefined ? [] : written.filter(({ target }) => target.kept);
  const verdicts = await filter?.judge(
    toJudge.map(({ query, target: { reasoning } }) => ({ query, reasoning })),
  );
  for (const [i, { target }] of toJudge.entries()) Object.assign(target, verdicts?.[i]);
  return written.map(({ target }) => target);
}

/** The longest start of a text, in whole words, of at most so many tokens; of a longer first word, nothing. */
async function cutToFit(tokenizer: Tokenizer, text: string, most: number): Promise<string> {
  const fits = async (part: string) => (await tokenizer.encode(part)).length <= most;
  if (await fits(text)) return text;
  const ends = [...text.matchAll(/\S(?=\s)/g)].map(({ index }) => index + 1);
  let [low, high] = [0, ends.length];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (await fits(text.slice(0, ends[middle - 1]))) low = middle;
    else high = middle - 1;
  }
  return low === 0 ? '' : text.slice(0, ends[low - 1]);
}

/**
 * The tokens of the targets that training uses, at most `most` of each: a target may have been edited.
 * Special tokens that are spelled out in a target are left out.
 */
export async function targetTokens(
  targets: Iterable<Target>,
  tokenizer: Tokenizer,
  most: number,
): Promise<ReasoningTargets> {
  const kept = [...targets].filter((target) => target.kept);
  const ids = await tokenizer.encodeBatch(kept.map(({ reasoning }) => reasoning));
  return new Map(
    kept.map(({ query }, i) => [
      query,
      (ids[i] ?? []).filter((id) => !tokenizer.specialIds.has(id)).slice(0, most),
    ]),
  );
}
