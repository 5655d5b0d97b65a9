/**
 * The terms that a loss can have. A new one is a file beside this one and a line in one of the two tables; its options
 * are then a part of `Objective`, and a trainer sets its weights and reports its values.
 */
import { crossEntropyTerm } from './cross-entropy.js';
import { infoNceTerm } from './info-nce.js';
import { klTerm } from './kl.js';
import { policyGradientTerm } from './policy-gradient.js';
import type { EmbeddingTerm, LabelTerm } from './term.js';
import { tripletTerm } from './triplet.js';

/** On labels. */
const LABEL_TERMS = { crossEntropy: crossEntropyTerm, policyGradient: policyGradientTerm, kl: klTerm };
/** On embeddings. */
const EMBEDDING_TERMS = { infoNce: infoNceTerm, triplet: tripletTerm };

type Options<Table extends Record<string, (options: never) => unknown>> = {
  [Name in keyof Table]: Parameters<Table[Name]>[0];
};
type Factories<Given, Term> = { [Name in keyof Given]: (options: Given[Name]) => Term };
type LabelOptions = Options<typeof LABEL_TERMS>;
type EmbeddingOptions = Options<typeof EMBEDDING_TERMS>;

/** The options of the terms that a loss has. A term without options is not in the program. */
export interface Objective extends Partial<LabelOptions & EmbeddingOptions> {
  /**
   * Lengths at which the terms on embeddings are computed beside the whole one, each below it: a term is the mean over all
   * of them (Matryoshka representations, Kusupati et al. 2022, arXiv 2205.13147). Default none.
   */
  matryoshka?: readonly number[] | undefined;
}

function terms<Given, Term>(table: Factories<Given, Term>, given: Partial<Given>): Term[] {
  const names = Object.keys(table) as (keyof Given)[];
  return names.flatMap((name) => {
    const options = given[name];
    return options === undefined ? [] : [table[name](options)];
  });
}

/** Its terms on labels. */
export const labelTerms = (objective: Objective): LabelTerm[] =>
  terms<LabelOptions, LabelTerm>(LABEL_TERMS, objective);

/** Its terms on embeddings. */
export const embeddingTerms = (objective: Objective): EmbeddingTerm[] =>
  terms<EmbeddingOptions, EmbeddingTerm>(EMBEDDING_TERMS, objective);

export type { KlOptions } from './kl.js';
export type { PolicyGradientOptions } from './policy-gradient.js';
