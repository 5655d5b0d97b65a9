/** Worker threads: functions that run in a thread of their own, called as if they were here. */
export { transfer } from './messages.js';
export { serveWorker, workerInput } from './serve.js';
export { type Remote, WorkerThread } from './thread.js';
