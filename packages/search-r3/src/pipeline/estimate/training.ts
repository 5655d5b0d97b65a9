/** What training takes besides the stage's own needs: gradients, the optimiser, and steps in sessions. */
import { addWork, NO_WORK, type Work } from 'onnx-grad';
import type { ModelConfig } from '../../checkpoint/index.js';
import { type EngineOptions, StepRehearsal, type StepRequest } from '../../train/index.js';
import { EFFICIENCY, KERNEL_SECONDS, OPTIMIZER_SECONDS } from './constants.js';
import { sessionBytes } from './inference.js';
import type { Learner } from './learner.js';
import { secondsOf, type Throughput } from './machine.js';
import type { Part, TimedPart } from './parts.js';

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

export interface TrainingCost {
  parts: Part[];
  /** Of one step: gradients, and the update. */
  step: TimedPart[];
  /** Until the first one can begin. */
  sessions: TimedPart;
}

/**
 * Steps of an engine.
 * @param batches steps as they may come; the memory is what all of them together leave taken, the time their mean.
 * @param reference also passes a step through a model that is not trained.
 */
export function trainingCost(
  config: ModelConfig,
  { weights, trained }: Learner,
  options: EngineOptions,
  batches: readonly StepRequest[],
  machine: Throughput,
  { reference = false, updates = 1 } = {},
): TrainingCost {
  const rehearsal = new StepRehearsal(config, weights, options);
  let work: Work = NO_WORK;
  let fixed: Work = NO_WORK;
  for (const batch of batches) {
    work = addWork(work, rehearsal.step(batch), 1 / batches.length);
    if (reference) fixed = addWork(fixed, rehearsal.reference(batch), 1 / batches.length);
  }
  const sums = rehearsal.inPieces ? trained : 0;
  const gradients = secondsOf(work, machine) / EFFICIENCY.training;
  const update = (OPTIMIZER_SECONDS * (trained + sums)) / FLOAT;
  return {
    parts: [
      { name: 'gradients', bytes: trained + sums },
      { name: 'moments of the optimiser', bytes: 2 * trained },
      { name: 'weights packed to train', bytes: rehearsal.weights },
      { name: 'activations of training', bytes: rehearsal.resident },
      { name: 'sessions of training', bytes: sessionBytes(rehearsal.sessions) },
    ],
    sessions: { name: 'programs', seconds: KERNEL_SECONDS * rehearsal.sessions.kernels },
    step: [
      { name: 'gradients', seconds: updates * gradients },
      { name: 'updates', seconds: updates * update },
      { name: 'reference', seconds: secondsOf(fixed, machine) / EFFICIENCY.training },
    ],
  };
}
