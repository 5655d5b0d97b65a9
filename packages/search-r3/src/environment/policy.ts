/** What a refresh policy is given, and the simplest one: random documents. */
import type { ExactIndex } from '../vectors/index.js';
import type { Allowance } from './budget.js';
import type { Closeup } from './closeup.js';
import { type DriftModel, movement } from './drift/index.js';
import type { Neighbours } from './neighbours.js';
import type { ResolvedSelectiveOptions } from './options.js';
import type { RefreshStep } from './step.js';
import type { Uncertainty } from './uncertainty.js';

export interface PolicyContext {
  options: ResolvedSelectiveOptions;
  allowance: Allowance;
  drift: DriftModel;
  uncertainty: Uncertainty;
  neighbours: Neighbours;
  /** To score documents in that are looked at closely. */
  scratch: ExactIndex;
  /** The stale vectors were moved to this version by an earlier refresh of the same step. */
  moved: boolean;
  /** A close look at the documents that may matter, by the vectors as they are. */
  look: () => Promise<Closeup>;
}

export interface Refreshed {
  rounds: number;
  /** The documents that may matter as they are in the end, where the policy has looked at them. */
  closeup?: Closeup;
}

/** Encodes what it thinks best within `step.left`, positives being fresh already. */
export type RefreshPolicy = (step: RefreshStep, context: PolicyContext) => Promise<Refreshed>;

export const refreshAtRandom: RefreshPolicy = async (step, context) => {
  const rounds = await untilTarget(step, context, (count) => step.encode(step.sample(count), 'random'));
  return { rounds };
};

/** Of the corpus: encoded at once by what does not know how much a target needs. */
const PIECE = 0.01;

/**
 * Spends what is left at once; where there is a target error, piece by piece until that is all to expect, or nothing is
 * left or stale. How often it did.
 */
export async function untilTarget(
  step: RefreshStep,
  { allowance: { target }, uncertainty, look }: PolicyContext,
  encode: (count: number) => Promise<number>,
): Promise<number> {
  const piece = target === undefined ? step.left : Math.ceil(PIECE * step.corpus.live);
  for (let rounds = 1; ; rounds++) {
    const encoded = await encode(Math.min(piece, step.left));
    await learnMovement(step, uncertainty);
    if (target === undefined || encoded === 0 || (await look()).expectedError <= target) return rounds;
  }
}

/** Where stale vectors are left as they are, they err by as much as those just encoded had moved. */
export async function learnMovement(step: RefreshStep, uncertainty: Uncertainty): Promise<void> {
  const pairs = await step.pairs();
  uncertainty.learn(step.version, { ...pairs, residuals: movement(pairs) }, step.rollouts);
}
