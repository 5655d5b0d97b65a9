/** The interface of refresh policies, and the simplest one: random documents. */
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
  /** An index for scoring the documents looked at. */
  scratch: ExactIndex;
  /** Whether an earlier refresh of the same step already moved the stale vectors to this version. */
  moved: boolean;
  /** A close look by the current vectors. */
  look: () => Promise<Closeup>;
}

export interface Refreshed {
  rounds: number;
  /** A close look after the last encoding, if the policy took one. */
  closeup?: Closeup;
}

/** Encodes up to `step.left` documents of its choice. The positives are already fresh. */
export type RefreshPolicy = (step: RefreshStep, context: PolicyContext) => Promise<Refreshed>;

export const refreshAtRandom: RefreshPolicy = async (step, context) => {
  const rounds = await untilTarget(step, context, (count) => step.encode(step.sample(count), 'random'));
  return { rounds };
};

/** Share of the corpus that policies without an estimate encode at a time towards a target. */
const PIECE = 0.01;

/**
 * Spends the rest of the budget at once; with a target error, in pieces until the expected error is at most the target
 * or nothing is left or stale. Returns the number of pieces.
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

/** Stale vectors that are not moved err by as much as the documents just encoded had moved. */
export async function learnMovement(step: RefreshStep, uncertainty: Uncertainty): Promise<void> {
  const pairs = await step.pairs();
  uncertainty.learn(step.version, { ...pairs, residuals: movement(pairs) }, step.rollouts);
}
