/** A request that was submitted: its tokens as they come, its completions, and how to end it. */
import type { Completion, ResolvedRequest, TokenEvent } from './options.js';

/** The embedding that a half-written reasoning would have. */
export interface Probe {
  /** Hidden state at the embed token after the tokens below, not normalised. */
  hidden: Float32Array;
  /** How many of the sample's tokens it has seen. */
  tokens: number;
}

/**
 * A request that is being served. Its tokens can be iterated over, by several readers and at any time; iteration ends
 * with the request, or throws what `completions` rejects with. A reader that stops does not end the request.
 */
export interface Submission extends AsyncIterable<TokenEvent> {
  /** By sample. Rejects with InterruptedError when cancelled, and with RangeError if the model's scores are NaN. */
  readonly completions: Promise<Completion[]>;
  /**
   * The state that the embed token would have after what a sample has so far, without writing it. Errors: those of
   * `completions`, if the request ends by them.
   */
  probe(sample?: number): Promise<Probe>;
  /** Ends the request after the step at hand. Does nothing once it has ended. */
  cancel(): void;
}

/** What the scheduler shares among the requests that run together. */
export interface Lot {
  /** Rows decoded at the same time at most. */
  slots: number;
  /** Prompt tokens read in one run at most, padding included. */
  stepTokens: number;
  /** Reads prompts as long as slots are free, before rows go on. Otherwise every run that reads is followed by a step. */
  eager: boolean;
}

interface WaitingProbe {
  sample: number;
  /** Tokens that the sample had when it was asked for. */
  tokens: number;
  resolve: (probe: Probe) => void;
  reject: (error: unknown) => void;
}

/** What a job asks of the scheduler. */
export interface JobHooks {
  onFinished?: ((sample: number, completion: Completion) => void) | undefined;
  /** The state at the embed token after `tokens`, read as a prompt. */
  read: (tokens: readonly number[], embedToken: number, signal?: AbortSignal) => Promise<Float32Array>;
}

/** The scheduler's side of a submission. */
export class Job implements Submission {
  readonly request: ResolvedRequest;
  readonly lot: Lot;
  readonly completions: Promise<Completion[]>;
  /** Asked for and not yet answered. */
  readonly probes: WaitingProbe[] = [];
  /** Of samples that run or have ended. */
  readonly written: (Completion | undefined)[] = [];
  cancelled = false;
  settled = false;
  readonly #hooks: JobHooks;
  readonly #events: TokenEvent[] = [];
  readonly #ended: Completion[] = [];
  #remaining: number;
  #resolve!: (completions: Completion[]) => void;
  #reject!: (error: unknown) => void;
  #error: unknown;
  /** Wakes the readers. */
  #changed: (() => void)[] = [];

  constructor(request: ResolvedRequest, lot: Lot, hooks: JobHooks) {
    this.request = request;
    this.lot = lot;
    this.#hooks = hooks;
    this.#remaining = request.samples;
    this.completions = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever only iterates learns of the error there.
    this.completions.catch(() => {});
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TokenEvent, void> {
    for (let next = 0; ; ) {
      while (next < this.#events.length) yield this.#events[next++] as TokenEvent;
      if (this.settled) break;
      await new Promise<void>((resolve) => this.#changed.push(resolve));
    }
    if (this.#error !== undefined) throw this.#error;
  }

  cancel(): void {
    this.cancelled = true;
  }

  async probe(sample = 0): Promise<Probe> {
    const { prompt, embedToken, samples, stop, signal } = this.request;
    if (embedToken === undefined) throw new RangeError('probe: the request has no embed token');
    if (!(Number.isInteger(sample) && sample >= 0 && sample < samples)) {
      throw new RangeError(`probe: expected a sample from 0 to ${samples - 1}, found ${sample}`);
    }
    const tokens = this.written[sample]?.tokens ?? [];
    const last = tokens.at(-1);
    const ending = last !== undefined && (last === embedToken || stop.includes(last));
    const running = !this.settled && this.#ended[sample] === undefined && tokens.length > 0;
    if (running && !ending) {
      return new Promise((resolve, reject) => {
        this.probes.push({ sample, tokens: tokens.length, resolve, reject });
      });
    }
    const reasoning = ending ? tokens.slice(0, -1) : tokens.slice();
    const hidden = await this.#hooks.read([...prompt, ...reasoning], embedToken, signal);
    return { hidden, tokens: reasoning.length };
  }

  /** A token was drawn. */
  token(event: TokenEvent): void {
    this.#events.push(event);
    this.#wake();
    try {
      this.request.onToken?.(event);
    } catch (error) {
      this.fail(error);
    }
  }

  /** A sample has ended. */
  finish(sample: number, completion: Completion): void {
    if (this.settled) return;
    this.#ended[sample] = completion;
    // The others are answered in the step at hand.
    const late = ({ sample: of, tokens }: WaitingProbe) =>
      of === sample && tokens >= completion.tokens.length;
    for (const probe of this.probes.filter(late)) {
      this.probes.splice(this.probes.indexOf(probe), 1);
      this.probe(sample).then(probe.resolve, probe.reject);
    }
    try {
      this.#hooks.onFinished?.(sample, completion);
    } catch (error) {
      this.fail(error);
      return;
    }
    if (--this.#remaining > 0) return;
    this.settled = true;
    this.#resolve(this.#ended);
    this.#wake();
  }

  /** Ends the request with an error. */
  fail(error: unknown): void {
    if (this.settled) return;
    this.settled = true;
    this.#error = error;
    this.#reject(error);
    for (const { reject } of this.probes.splice(0)) reject(error);
    this.#wake();
  }

  #wake(): void {
    for (const wake of this.#changed.splice(0)) wake();
  }
}
