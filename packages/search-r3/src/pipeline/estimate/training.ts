/** What training takes besides the stage's own needs: gradients, the optimiser, and steps in sessions. */
import { addWork, NO_WORK, type Work } from 'onnx-grad';
import { elementCount, type ModelConfig, parameterShapes } from '../../checkpoint/index.js';
import { tokenTables } from '../../decoder/index.js';
import { type EngineOptions, StepRehearsal, type StepRequest } from '../../train/index.js';
import { EFFICIENCY, KERNEL_BYTES, OPTIMIZER_SECONDS, SESSION_BYTES } from './constants.js';
import { secondsOf, type Throughput } from './machine.js';
import type { Part, TimedPart } from './parts.js';

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

/** Bytes of the weights that are trained: all, or with `token` all but the token tables, of which one row each. */
export function trainedBytes(config: ModelConfig, token: number | undefined): number {
  const shapes = parameterShapes(config);
  const all = [...shapes.values()].reduce((sum, shape) => sum + elementCount(shape), 0);
  if (token === undefined) return FLOAT * all;
  const tables = tokenTables(config);
  const frozen = tables.reduce((sum, name) => sum + elementCount(shapes.get(name) ?? []), 0);
  return FLOAT * (all - frozen + tables.length * config.hiddenSize);
}

/** Memory of sessions besides what is between their nodes. */
export const sessionBytes = (sessions: { count: number; kernels: number }): number =>
  sessions.count * SESSION_BYTES + sessions.kernels * KERNEL_BYTES;

export interface TrainingCost {
  parts: Part[];
  /** Of one step: gradients, and the update. */
  step: TimedPart[];
}

/**
 * Steps of an engine.
 * @param batches steps as they may come; the memory is what all of them together leave taken, the time their mean.
 * @param reference also passes a step through a model that is not trained.
 */
export function trainingCost(
  config: ModelConfig,
  options: EngineOptions,
  batches: readonly StepRequest[],
  machine: Throughput,
  { reference = false, updates = 1 } = {},
): TrainingCost {
  const rehearsal = new StepRehearsal(config, options);
  let work: Work = NO_WORK;
  let fixed: Work = NO_WORK;
  for (const batch of batches) {
    work = addWork(work, rehearsal.step(batch), 1 / batches.length);
    if (reference) fixed = addWork(fixed, rehearsal.reference(batch), 1 / batches.length);
  }
  const trained = trainedBytes(config, options.trainedToken);
  const sums = rehearsal.inPieces ? trained : 0;
  const gradients = secondsOf(work, machine) / EFFICIENCY.training;
  const update = (OPTIMIZER_SECONDS * (trained + sums)) / FLOAT;
  return {
    parts: [
      { name: 'gradients', bytes: trained + sums },
      { name: 'moments of the optimiser', bytes: 2 * trained },
      { name: 'activations of training', bytes: rehearsal.resident },
      { name: 'sessions of training', bytes: sessionBytes(rehearsal.sessions) },
    ],
    step: [
      { name: 'gradients', seconds: updates * gradients },
      { name: 'updates', seconds: updates * update },
      { name: 'reference', seconds: secondsOf(fixed, machine) / EFFICIENCY.training },
    ],
  };
}
