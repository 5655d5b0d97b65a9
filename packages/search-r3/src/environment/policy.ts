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
}

export interface Refreshed {
  rounds: number;
  /** The documents that may matter as they are in the end, where the policy has looked at them. */
  closeup?: Closeup;
}

/** Encodes what it thinks best within `step.left`, positives being fresh already. */
export type RefreshPolicy = (step: RefreshStep, context: PolicyContext) => Promise<Refreshed>;

export const refreshAtRandom: RefreshPolicy = async (step, { uncertainty }) => {
  await step.encode(step.sample(step.left), 'random');
  await learnMovement(step, uncertainty);
  return { rounds: 1 };
};

/** Where stale vectors are left as they are, they err by as much as those just encoded had moved. */
export async function learnMovement(step: RefreshStep, uncertainty: Uncertainty): Promise<void> {
  const pairs = await step.pairs();
  uncertainty.learn(step.version, { ...pairs, residuals: movement(pairs) }, step.rollouts);
}
