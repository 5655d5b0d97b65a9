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

/** A part of the work: its name, and how many there are at most; `done` where these are not the items. */
export interface WorkPart {
  name: string;
  total: number;
  done?: () => number;
}

/**
 * Does the work on every item, and lets others have their turn where it is due. At the end of a part all that there was
 * is done.
 * @throws InterruptedError where the caller stopped it.
 */
export async function inTurns<T>(
  items: Iterable<T>,
  part: WorkPart,
  work: (item: T) => void,
  { signal, onProgress }: LongWorkOptions = {},
): Promise<void> {
  let count = 0;
  const { name, total, done = () => count } = part;
  const stopWhereAsked = (): void => {
    if (signal?.aborted) throw new InterruptedError(`${name}: stopped by the caller`);
  };
  stopWhereAsked();
  let last = performance.now();
  for (const item of items) {
    work(item);
    count++;
    if (performance.now() - last < TURN) continue;
    onProgress?.({ part: name, done: done(), total });
    await setImmediate();
    stopWhereAsked();
    last = performance.now();
  }
  onProgress?.({ part: name, done: done(), total: done() });
}
