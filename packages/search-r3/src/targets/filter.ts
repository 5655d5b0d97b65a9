/**
 * Drops targets that do not help. A dense model ranks the documents that answer some query, for the query alone and for
 * the query with its target behind it, from which everything copied from the document was taken. A target is kept if the
 * best relevant document moves up; where it stays, if its cosine gains on that of the best other document.
 */
import { mayBeNegative, type TrainingQuery } from '../sft/index.js';
import type { DenseModel } from './dense.js';
import { withoutSpans } from './spans.js';

export interface Judged {
  query: TrainingQuery;
  reasoning: string;
}

export interface Verdict {
  kept: boolean;
  /** For people. */
  why: string;
}

/** Where the best relevant document stands. */
interface Standing {
  /** From 1. */
  rank: number;
  /** Its cosine minus that of the best document that does not answer the query. */
  margin: number;
}

export class TargetFilter {
  readonly #dense: DenseModel;
  readonly #document: (id: string) => string;
  readonly #ids: readonly string[];
  readonly #signal: AbortSignal | undefined;
  #vectors: Promise<Float32Array[]> | undefined;

  /** @param queries whose relevant documents are ranked. */
  constructor(
    dense: DenseModel,
    queries: readonly TrainingQuery[],
    document: (id: string) => string,
    signal?: AbortSignal,
  ) {
    this.#dense = dense;
    this.#document = document;
    this.#ids = [...new Set(queries.flatMap(({ relevant }) => [...relevant.keys()]))];
    this.#signal = signal;
  }

  /** One verdict per target. Documents are embedded once. */
  async judge(targets: readonly Judged[]): Promise<Verdict[]> {
    const left = targets.map(({ query, reasoning }) =>
      [...query.relevant.keys()].reduce((text, id) => withoutSpans(text, this.#document(id)), reasoning),
    );
    const texts = targets.map(({ query }) => query.text);
    const queries = await this.#dense.embed(
      [...texts, ...texts.map((text, i) => `${text}\n${left[i]}`)],
      'query',
      this.#signal,
    );
    this.#vectors ??= this.#dense.embed(this.#ids.map(this.#document), 'document', this.#signal);
    const documents = await this.#vectors;
    return targets.map(({ query }, i) => {
      if (left[i]?.trim() === '') return { kept: false, why: 'all of it is copied from the document' };
      const [before, after] = [queries[i], queries[targets.length + i]].map((vector) =>
        this.#standing(query, vector as Float32Array, documents),
      ) as [Standing, Standing];
      const kept = after.rank < before.rank || (after.rank === before.rank && after.margin > before.margin);
      const shown = ({ rank, margin }: Standing) => `rank ${rank}, margin ${margin.toFixed(3)}`;
      return { kept, why: `${shown(before)} without it; ${shown(after)} with it` };
    });
  }

  #standing(query: TrainingQuery, vector: Float32Array, documents: readonly Float32Array[]): Standing {
    let [best, other] = [-Infinity, -Infinity];
    const others: number[] = [];
    for (const [i, id] of this.#ids.entries()) {
      const cosine = dot(vector, documents[i] as Float32Array);
      if (query.relevant.has(id)) best = Math.max(best, cosine);
      else if (mayBeNegative(query, id)) {
        other = Math.max(other, cosine);
        others.push(cosine);
      }
    }
    // Without another document there is nothing to gain on but the query itself.
    return {
      rank: 1 + others.filter((cosine) => cosine > best).length,
      margin: others.length === 0 ? best : best - other,
    };
  }
}

const dot = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, i) => sum + value * (b[i] as number), 0);
