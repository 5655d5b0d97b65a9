/** Clipping by the global norm, as torch.nn.utils.clip_grad_norm_ defines it. */
import type { Tensors } from './adamw.js';
import { demand } from './errors.js';
import { sumOfSquares } from './kernel.js';

/** Gradients contain infinities or NaN: do not take the step. */
export class NonFiniteGradientError extends Error {
  override readonly name = 'NonFiniteGradientError';
  /** Names of all tensors with such an element. */
  readonly tensors: readonly string[];
  constructor(tensors: readonly string[]) {
    const rest = tensors.length > 3 ? ` and ${tensors.length - 3} more` : '';
    super(`globalNorm: the gradient is not finite in ${tensors.slice(0, 3).join(', ')}${rest}`);
    this.tensors = tensors;
  }
}

/**
 * The Euclidean norm over all elements of all tensors, summed in float64, which no float32 gradient overflows or
 * underflows.
 * @throws NonFiniteGradientError naming the tensors with infinite or NaN elements.
 */
export function globalNorm(gradients: Tensors): number {
  const squares = [...gradients].map(([name, gradient]) => ({ name, square: sumOfSquares(gradient) }));
  const bad = squares.filter(({ square }) => !Number.isFinite(square)).map(({ name }) => name);
  if (bad.length > 0) throw new NonFiniteGradientError(bad);
  return Math.sqrt(squares.reduce((total, { square }) => total + square, 0));
}

/** Keeps the quotient finite if the norm is zero. */
const CLIP_EPSILON = 1e-6;

/**
 * The factor that scales gradients of this norm down to `maxNorm`: maxNorm / (norm + 1e-6), at most 1. Pass it to
 * `AdamW.step` as `scale`.
 * @throws OptimError for an invalid norm or limit.
 */
export function clipScale(norm: number, maxNorm: number): number {
  demand(Number.isFinite(norm) && norm >= 0, 'clipScale', 'norm', 'a finite number >= 0', norm);
  demand(maxNorm > 0, 'clipScale', 'maxNorm', 'a number > 0', maxNorm);
  return Math.min(1, maxNorm / (norm + CLIP_EPSILON));
}
