/**
 * What threads send each other: birpc's messages, with functions and signals taken out of the arguments. A function
 * becomes a callback, a signal an abort message; both go through the channel of the calls, so that everything arrives
 * in the order in which it was sent.
 */
import { type CarriedError, carry } from './errors.js';

/** What a worker finds in its `workerData`. */
export interface WorkerStart {
  /** See `awaitKernelsAtExit`. */
  readonly kernels: SharedArrayBuffer;
  readonly data: unknown;
}

/** Functions of every worker, under names that no interface has. */
export const ABORT = 'abort a call';
export const END = 'end the thread';

/** The functions that a worker calls in the thread that started it. */
export interface CallerFunctions {
  /** Calls a callback of the call `id`. */
  callback(id: string, slot: number, values: readonly unknown[]): void;
}

/** birpc's request; without `i` it is not answered. */
export interface Request {
  readonly t: 'q';
  readonly i?: string;
  readonly m: string;
  readonly a: readonly unknown[];
}

/** birpc's answer to the request `i`: a result or an error. */
export interface Answer {
  readonly t: 's';
  readonly i: string;
  readonly r?: unknown;
  readonly e?: unknown;
}

/** A request as it is sent. */
export interface PackedRequest extends Request {
  readonly links: readonly Link[];
  /** Why the caller's signal is already aborted. */
  readonly aborted?: CarriedError;
}

/** A message and the memory that moves with it. */
export interface Parcel {
  readonly message: PackedRequest | Request | Answer;
  readonly transfer: readonly ArrayBuffer[];
}

/** Where a function or a signal was: an argument, or a field of one. */
interface Link {
  readonly argument: number;
  readonly key?: string;
  /** Number of the callback; undefined for a signal. */
  readonly slot?: number;
}

export type Callback = (...values: readonly unknown[]) => unknown;

export interface Packed {
  readonly request: PackedRequest;
  readonly callbacks: readonly Callback[];
  readonly signals: readonly AbortSignal[];
}

/** Takes functions and signals out of the arguments and, one level deep, out of objects among them. */
export function pack(request: Request): Packed {
  const links: Link[] = [];
  const callbacks: Callback[] = [];
  const signals: AbortSignal[] = [];
  const take = (value: unknown, at: Link): unknown => {
    if (typeof value === 'function') {
      links.push({ ...at, slot: callbacks.length });
      callbacks.push(value as Callback);
      return undefined;
    }
    if (value instanceof AbortSignal) {
      links.push(at);
      signals.push(value);
      return undefined;
    }
    return value;
  };
  const a = request.a.map((given, argument) => {
    const value = take(given, { argument });
    if (!isRecord(value)) return value;
    const fields = Object.entries(value).map(([key, field]) => [key, take(field, { argument, key })]);
    return Object.fromEntries(fields) as unknown;
  });
  const aborted = signals.find((signal) => signal.aborted);
  const packed = { ...request, a, links, ...(aborted && { aborted: carry(aborted.reason) }) };
  return { request: packed, callbacks, signals };
}

/** The arguments of a packed request, with stand-ins for its functions and signals. */
export function unpack(
  { a, links }: PackedRequest,
  callback: (slot: number) => Callback,
  signal: AbortSignal,
): unknown[] {
  const values = [...a];
  for (const { argument, key, slot } of links) {
    const standIn = slot === undefined ? signal : callback(slot);
    if (key === undefined) values[argument] = standIn;
    else (values[argument] as Record<string, unknown>)[key] = standIn;
  }
  return values;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && Object.getPrototypeOf(value) === Object.prototype;
}

const moving = new WeakMap<object, readonly ArrayBuffer[]>();

/**
 * Marks an argument or a result whose memory should move to the other thread instead of being copied. The sender cannot
 * read it afterwards.
 */
export function transfer<T extends object>(value: T, buffers: readonly ArrayBuffer[]): T {
  moving.set(value, buffers);
  return value;
}

/** The memory that moves with these arguments or results. */
export function transfersOf(values: readonly unknown[]): ArrayBuffer[] {
  return values.flatMap((value) =>
    typeof value === 'object' && value !== null ? (moving.get(value) ?? []) : [],
  );
}
