/** What was measured once and holds for all models: memory and time besides tensors and kernels. */

/** Node with the packages that a command loads, its code and its garbage, in bytes. */
export const PROCESS_BYTES = { training: 220e6, use: 160e6 };
/** A session: graph and kernels, in bytes. */
export const SESSION_BYTES = 3e6;
export const KERNEL_BYTES = 4e3;
/** Bytes of JavaScript objects for each byte of the texts, and for each document: texts, words and tokens. */
export const TEXT_BYTES = 4;
export const DOCUMENT_BYTES = 2000;

/** Share of the machine's speed that whole steps of training, encoding and generation reach. */
export const EFFICIENCY = { training: 0.75, encoding: 0.7, generation: 0.4 };
/** Seconds that the optimiser takes for each number, and adding up the gradients of a piece. */
export const OPTIMIZER_SECONDS = 1.7e-9;
/** Seconds from the start of the process until a stage begins to work, and for each parameter to read and to save it. */
export const START_SECONDS = 1;
export const PARAMETER_SECONDS = 4e-8;
/** Seconds that a session takes for each of its kernels when it is made. */
export const KERNEL_SECONDS = 2.5e-4;
