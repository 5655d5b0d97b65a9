/**
 * Long computations on one thread: they yield to the event loop (signals, timers, other requests), report progress and
 * can be stopped.
 */
import { setImmediate } from 'node:timers/promises';
import { InterruptedError } from './errors.js';

export interface LongWorkOptions {
  /** Aborting it ends the work with an `InterruptedError`. */
  signal?: AbortSignal | undefined;
  /** Called from time to time and at the end of each part. */
  onProgress?: ((event: PartProgress) => void) | undefined;
}

/** The progress of one part of the work. */
export interface PartProgress {
  part: string;
  done: number;
  total: number;
}

/** Milliseconds of computing between yields: short for a person, long compared with the cost of yielding. */
const TURN = 50;

/** A part of the work. */
export interface WorkPart {
  name: string;
  /** Upper bound of `done`. */
  total: number;
  /** What is finished so far. Default: the number of items. */
  done?: () => number;
}

/**
 * Runs `work` on every item and yields to the event loop between slices. The last progress event has `done` equal to
 * `total`.
 * @throws InterruptedError if the caller aborts.
 */
export async function inTurns<T>(
  items: Iterable<T>,
  part: WorkPart,
  work: (item: T) => void,
  { signal, onProgress }: LongWorkOptions = {},
): Promise<void> {
  let count = 0;
  const { name, total, done = () => count } = part;
  const throwIfStopped = (): void => {
    if (signal?.aborted) throw new InterruptedError(`${name}: stopped by the caller`);
  };
  throwIfStopped();
  let last = performance.now();
  for (const item of items) {
    work(item);
    count++;
    if (performance.now() - last < TURN) continue;
    onProgress?.({ part: name, done: done(), total });
    await setImmediate();
    throwIfStopped();
    last = performance.now();
  }
  onProgress?.({ part: name, done: done(), total: done() });
}
