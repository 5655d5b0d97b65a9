/**
 * For threads that run sessions (`onnx-grad/exit-guard`, which loads nothing else). If a process exits while one of its threads is inside a kernel, it aborts: Node stops the thread there, and the
 * binding throws with nobody to catch. So at exit the thread that started the other waits until no kernel runs, and
 * further kernels are not started.
 */

/** Indices in the shared memory: the number of running kernels, and whether the process is exiting. */
const UNDER_WAY = 0;
const ENDING = 1;

/** Longest wait at exit, in milliseconds. */
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
 * Call this when you start a thread that runs sessions: it makes `process.exit` and uncaught exceptions wait until the
 * thread is not inside a kernel. Pass `memory` to `announceKernels` in that thread; call `release` when it has ended.
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

/** Makes the sessions of this thread announce their kernels; `memory` comes from `awaitKernelsAtExit`. */
export function announceKernels(memory: SharedArrayBuffer): void {
  announced = new Int32Array(memory);
}

/** Runs `work`, which runs kernels. If the process is exiting, it is not started and the promise never settles. */
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
