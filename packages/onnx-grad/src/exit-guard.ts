/**
 * A process that ends while a thread of it is inside a kernel is aborted instead: Node stops the thread there, and the
 * binding throws where nobody catches. So the thread that started it waits, at exit, until no kernel runs, and those that
 * would be next are not started.
 */

/** What both sides share: the number of kernels under way, and whether the process ends. */
const UNDER_WAY = 0;
const ENDING = 1;

/** Milliseconds that an exit waits at most. */
const LONGEST_WAIT = 30_000;

const awaited = new Set<Int32Array>();

function waitForAll(): void {
  for (const state of awaited) Atomics.store(state, ENDING, 1);
  const until = performance.now() + LONGEST_WAIT;
  for (const state of awaited) {
    let count = Atomics.load(state, UNDER_WAY);
    while (count > 0 && performance.now() < until) {
      Atomics.wait(state, UNDER_WAY, count, until - performance.now());
      count = Atomics.load(state, UNDER_WAY);
    }
  }
}

/**
 * For whoever starts a thread that runs sessions: makes `process.exit`, and an exception that nobody catches, wait until
 * the thread is in no kernel. `memory` is for `announceKernels` in that thread; `release` when it has ended.
 */
export function awaitKernelsAtExit(): { memory: SharedArrayBuffer; release: () => void } {
  const memory = new SharedArrayBuffer(8);
  const state = new Int32Array(memory);
  if (awaited.size === 0) process.on('exit', waitForAll);
  awaited.add(state);
  return {
    memory,
    release: () => {
      awaited.delete(state);
      if (awaited.size === 0) process.off('exit', waitForAll);
    },
  };
}

let announced: Int32Array | undefined;

/** Makes the sessions of this thread tell of their kernels; `memory` comes from `awaitKernelsAtExit`. */
export function announceKernels(memory: SharedArrayBuffer): void {
  announced = new Int32Array(memory);
}

/** Does `work`, which runs kernels. It is not started, and what this returns never settles, when the process ends. */
export async function inKernel<T>(work: () => Promise<T>): Promise<T> {
  const state = announced;
  if (state === undefined) return work();
  const leave = () => {
    Atomics.sub(state, UNDER_WAY, 1);
    Atomics.notify(state, UNDER_WAY);
  };
  Atomics.add(state, UNDER_WAY, 1);
  if (Atomics.load(state, ENDING) === 1) {
    leave();
    return new Promise<never>(() => {});
  }
  return work().finally(leave);
}
