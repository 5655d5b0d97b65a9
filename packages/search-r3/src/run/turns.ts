/**
 * Long computations on one thread: between their pieces others have their turn (signals, timers, other requests), the
 * progress is told, and whoever waits may stop them.
 */
import { setImmediate } from 'node:timers/promises';
import { InterruptedError } from './errors.js';

export interface LongWorkOptions {
  /** Aborted, the work ends with an `InterruptedError`. */
  signal?: AbortSignal | undefined;
  /** Called now and then, and at the end of each part. */
  onProgress?: ((event: PartProgress) => void) | undefined;
}

/** How far a part of some work is. */
export interface PartProgress {
  part: string;
  done: number;
  total: number;
}

/** Milliseconds of computing between two turns: short for a person, long beside what a turn costs. */
const TURN = 50;

/**
 * Does the work on every item, and lets others have their turn where it is due.
 * @throws InterruptedError where the caller stopped it.
 */
export async function inTurns<T>(
  items: Iterable<T>,
  part: { name: string; total: number },
  work: (item: T) => void,
  { signal, onProgress }: LongWorkOptions = {},
): Promise<void> {
  let last = performance.now();
  let done = 0;
  for (const item of items) {
    work(item);
    done++;
    if (performance.now() - last < TURN) continue;
    onProgress?.({ part: part.name, done, total: part.total });
    await setImmediate();
    if (signal?.aborted) throw new InterruptedError(`${part.name}: stopped by the caller`);
    last = performance.now();
  }
  onProgress?.({ part: part.name, done, total: part.total });
}
