/** Ctrl-C: the first press stops cleanly, the second at once. */
import { listenForStop } from '../run/stop.js';
import type { Output } from './output.js';

/**
 * Runs `work` with a signal that the first Ctrl-C aborts; the second one ends the process at once. `work` throws the
 * signal's reason, which the program turns into exit code 130.
 * @param doing what the user reads after the first Ctrl-C.
 */
export async function untilStopped<T>(
  output: Output,
  work: (signal: AbortSignal) => Promise<T>,
  doing = 'stopping',
): Promise<T> {
  const stop = listenForStop({
    onStop: () => output.warn(`${doing}; press Ctrl-C again to stop at once`),
  });
  try {
    return await work(stop.signal);
  } finally {
    stop.dispose();
  }
}
