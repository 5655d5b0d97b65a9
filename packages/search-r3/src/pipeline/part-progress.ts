/** Progress of work in parts: each part is shown as a stage of its own. */
import {
  type PartProgress,
  type ProgressReporter,
  ProgressTracker,
  type ProgressUnit,
} from '../run/index.js';

/** What each part counts; others count texts. */
const UNITS: Record<string, ProgressUnit> = {
  documents: 'document',
  queries: 'query',
  reasoning: 'query',
  vocabulary: 'token',
  'key terms': 'document',
  tokens: 'document',
  directions: 'document',
  'quantised layers': 'layer',
};

/** Reports parts under `prefix`, for example `validation documents`. */
export function partProgress(reporter: ProgressReporter, prefix = ''): (event: PartProgress) => void {
  let current: { part: string; done: number; total: number; tracker: ProgressTracker } | undefined;
  let ended = performance.now();
  return ({ part, done, total }) => {
    // The same part may come again, for other queries.
    if (current?.part !== part || current.total !== total || done < current.done) {
      const stage = `${prefix} ${part}`.trim();
      current = {
        part,
        done,
        total,
        tracker: new ProgressTracker({
          stage,
          unit: UNITS[part] ?? 'text',
          steps: total,
          reporter,
          clock: from(ended),
        }),
      };
    }
    current.done = done;
    current.tracker.update(done);
    ended = performance.now();
  };
}

/** A part is first heard of when some of it is done: it began when the one before ended. */
function from(start: number): () => number {
  let asked = false;
  return () => {
    const time = asked ? performance.now() : start;
    asked = true;
    return time;
  };
}
