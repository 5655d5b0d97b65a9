/**
 * Where reasoning targets come from: a table of sources. With `self`, stage 1 does without it: there targets are sampled
 * as training needs them, and stay tokens.
 */
import type { AnalyzerChoice } from '../evaluate/index.js';
import type { Model, Policy } from '../model/index.js';
import { InputError, randomStream } from '../run/index.js';
import {
  positivesOf,
  type ResolvedSftOptions,
  TargetSampler,
  type TargetSourceName,
  type TrainingQuery,
} from '../sft/index.js';
import type { DenseModel } from './dense.js';
import { GroundedWriter } from './grounded.js';
import { readTargets } from './target-file.js';
import { askTeacher } from './teacher.js';

/** A target before it is fitted and judged. */
export interface Draft {
  query: TrainingQuery;
  /** Undefined where the source has nothing to say. */
  reasoning: string | undefined;
  style?: string;
  /** Decided already: a file may say so. */
  kept?: boolean;
  why?: string;
}

/** What a source writes from. */
export interface TargetData {
  /** The model as it is before training. */
  base: Model<Policy>;
  /** What judges targets. Default: the base, see `denseModel`. */
  dense?: DenseModel;
  /** Text of a document. */
  document: (id: string) => string;
  /** Ids of the documents of the collection. */
  corpus: readonly string[];
  /** How texts become words. */
  analyzer: AnalyzerChoice;
  /** Ids of all training queries: a file may have targets of others than those that are asked for. */
  known: ReadonlySet<string>;
}

export type SourceOptions = Pick<ResolvedSftOptions, 'reasoning' | 'seed' | 'maxLength'>;

/** Writes targets of the queries, in any order, and yields them as they come. */
export type TargetSource = (
  queries: readonly TrainingQuery[],
  data: TargetData,
  options: SourceOptions,
  signal?: AbortSignal,
) => AsyncGenerator<Draft>;

export const SOURCES: Record<TargetSourceName, TargetSource> = {
  async *self(queries, { base }, options, signal) {
    const sampler = new TargetSampler(base, queries, options, signal === undefined ? {} : { signal });
    try {
      for (const [i, query] of queries.entries()) {
        await sampler.reach(i + 1);
        yield { query, reasoning: base.tokenizer.decode(sampler.targets.get(query.id) ?? []) };
      }
    } finally {
      await sampler.dispose();
    }
  },

  async *grounded(queries, { document, corpus, analyzer }, { reasoning: { styles }, seed }, signal) {
    const writer = await GroundedWriter.create(corpus.map(document), { styles, seed }, { analyzer, signal });
    for (const query of queries) yield { query, reasoning: undefined, ...writer.write(query, document) };
  },
  async *teacher(queries, { document }, { reasoning: { teacher }, seed }, signal) {
    if (teacher === undefined) {
      const expected = 'a server';
      throw new InputError({ source: 'settings', field: 'sft.reasoning.teacher', expected, found: 'none' });
    }
    const asking = new Map<string, Promise<Draft>>();
    const ask = async (query: TrainingQuery): Promise<Draft> => {
      const positive = randomStream(seed, 'targets', 'teacher', query.id).choice(positivesOf(query));
      const texts = { query: query.text, document: document(positive) };
      return { query, reasoning: await askTeacher(teacher, texts, signal) };
    };
    const first = async () => {
      const draft = await Promise.race(asking.values());
      asking.delete(draft.query.id);
      return draft;
    };
    try {
      for (const query of queries) {
        asking.set(query.id, ask(query));
        if (asking.size >= teacher.concurrency) yield await first();
      }
      while (asking.size > 0) yield await first();
    } finally {
      await Promise.allSettled(asking.values());
    }
  },
  async *file(queries, { known }, { reasoning: { file } }) {
    if (file === undefined) {
      throw new InputError({
        source: 'settings',
        field: 'sft.reasoning.file',
        expected: 'a file',
        found: 'none',
      });
    }
    const targets = await readTargets(file, known);
    for (const query of queries) {
      const target = targets.get(query.id);
      if (target === undefined) {
        yield { query, reasoning: undefined };
      } else {
        const { reasoning, style, kept, why } = target;
        yield {
          ...{ query, reasoning },
          ...(style !== undefined && { style }),
          ...(!kept && { kept }),
          ...(why !== undefined && { why }),
        };
      }
    }
  },
};
