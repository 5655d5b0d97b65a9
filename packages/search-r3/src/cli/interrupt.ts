/** Ctrl-C for commands that leave a resumable state. */
import { listenForStop } from '../run/stop.js';
import type { Output } from './output.js';

/**
 * Runs `work` with a signal that the first Ctrl-C aborts; the second one ends the process at once. `work` finishes its
 * step, saves it and throws the signal's reason, which the program turns into exit code 130.
 */
export async function untilStopped<T>(output: Output, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const stop = listenForStop({
    onStop: () => output.warn('finishing and saving this step; press Ctrl-C again to stop at once'),
  });
  try {
    return await work(stop.signal);
  } finally {
    stop.dispose();
  }
}
