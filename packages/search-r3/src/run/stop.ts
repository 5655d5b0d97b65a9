/** Stopping a run: the first Ctrl-C finishes and saves the current step, the second ends the process. */
import type { EventEmitter } from 'node:events';
import { InterruptedError } from './errors.js';

/** Exit status of an interrupted run, as shells report SIGINT (128 + 2). */
export const INTERRUPTED_EXIT_CODE = 130;

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;
/** The terminal and `npm run` may both forward one Ctrl-C: signals this close together count as one. */
const SAME_SIGNAL_MS = 300;

export interface StopOptions {
  /** Called at the first signal, to tell the user that the step is being finished. */
  onStop?: () => void;
  /** Source of the signals. Default: the process. */
  process?: Pick<EventEmitter, 'on' | 'off'>;
  /** Ends the process at the second signal. Default `process.exit`. */
  exit?: (code: number) => void;
  /** Milliseconds from any fixed moment. Default `performance.now`. */
  clock?: () => number;
}

export interface Stop {
  /** Aborted at the first SIGINT or SIGTERM, with an `InterruptedError` as reason. */
  signal: AbortSignal;
  /** Restores the default behaviour of the signals. */
  dispose(): void;
}

/** Listens for SIGINT and SIGTERM until disposed. */
export function listenForStop(options: StopOptions = {}): Stop {
  const source = options.process ?? process;
  const exit = options.exit ?? process.exit;
  const clock = options.clock ?? (() => performance.now());
  const controller = new AbortController();
  let first = 0;
  const handle = (): void => {
    const now = clock();
    if (!controller.signal.aborted) {
      first = now;
      controller.abort(new InterruptedError('interrupted'));
      options.onStop?.();
    } else if (now - first >= SAME_SIGNAL_MS) {
      exit(INTERRUPTED_EXIT_CODE);
    }
  };
  for (const name of SIGNALS) source.on(name, handle);
  return {
    signal: controller.signal,
    dispose: () => {
      for (const name of SIGNALS) source.off(name, handle);
    },
  };
}
