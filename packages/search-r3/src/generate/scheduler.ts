/**
 * Serves concurrent requests with one model (continuous batching, Yu et al. 2022, "Orca"): rows join and leave between
 * steps. Rows that decode have the first slots of the cache; the prompts that are being read have the next ones. Each
 * prompt is read once, long ones in pieces, and its cache is copied to all of the request's samples. A row that emits
 * the embed token is fed that token once more, and the hidden state there is its embedding.
 */
import type { ModelConfig } from '../checkpoint/index.js';
import { InterruptedError, type RandomStream, randomStream } from '../run/index.js';
import { positionBytes, slotSize } from './cache.js';
import type { Decoding, ReadResult } from './decoding.js';
import type { Completion } from './options.js';
import type { Choice, Sampler } from './sampler.js';
import { type Draw, kindOf, penalise } from './sampling.js';
import type { Job, Lot } from './submission.js';

/** A sample that waits for a slot. */
interface Entry {
  job: Job;
  sample: number;
}

/** A sample that has a slot. */
interface Row extends Entry {
  random: RandomStream;
  /** Tokens in the cache. */
  length: number;
  /** The next token to be fed. */
  pending: number;
  /** What follows when it has been fed: a token is drawn, the embed token is fed, or the embedding is there. */
  next: 'token' | 'embed' | 'end';
  done: boolean;
  completion: Completion;
  /** Tokens that are penalised when they repeat. */
  seen: Set<number> | undefined;
}

/** Prompts that are being read, in the slots after the rows. */
interface Reading {
  jobs: Job[];
  entries: Entry[];
  /** Tokens read so far, of a prompt that is read in pieces. */
  done: number;
}

/** Memory is given back after so many milliseconds without a request. */
const IDLE = 10_000;

export class Scheduler {
  readonly #config: ModelConfig;
  readonly #decoding: Decoding;
  readonly #sampler: Sampler;
  /** Positions of the cache that rows may take together. */
  readonly #positions: number;
  readonly #jobs = new Set<Job>();
  readonly #queue: Entry[] = [];
  readonly #rows: Row[] = [];
  #reading: Reading | undefined;
  #lot: Lot | undefined;
  #loop: Promise<void> | undefined;
  #idle: NodeJS.Timeout | undefined;

  constructor(config: ModelConfig, decoding: Decoding, sampler: Sampler, cacheBytes: number) {
    this.#config = config;
    this.#decoding = decoding;
    this.#sampler = sampler;
    this.#positions = Math.floor(cacheBytes / positionBytes(config));
  }

  /** Queues a job. Jobs of one lot run together; other lots wait until no row of it is left. */
  add(job: Job): void {
    const { samples, priority } = job.request;
    this.#jobs.add(job);
    let at = this.#queue.length;
    while (at > 0 && (this.#queue[at - 1] as Entry).job.request.priority < priority) at--;
    this.#queue.splice(at, 0, ...Array.from({ length: samples }, (_, sample) => ({ job, sample })));
    this.#loop ??= this.#serve();
  }

  /** Ends all requests and waits for the step at hand. */
  async stop(): Promise<void> {
    for (const job of this.#jobs) job.cancel();
    await this.#loop;
    clearTimeout(this.#idle);
  }

  async #serve(): Promise<void> {
    clearTimeout(this.#idle);
    // What is submitted in one go is served in one go.
    await Promise.resolve();
    while (this.#jobs.size > 0) {
      try {
        this.#leave();
        const read = await this.#read();
        this.#leave();
        if (this.#rows.length > 0 && !(read && this.#lot?.eager)) await this.#step();
      } catch (error) {
        // A run failed: nobody knows what it left in the cache.
        for (const { job } of [...this.#rows, ...(this.#reading?.entries ?? [])]) job.fail(error);
        this.#decoding.release();
      }
    }
    this.#loop = undefined;
    this.#idle = setTimeout(() => {
      this.#decoding.release();
      this.#sampler.release();
    }, IDLE);
    this.#idle.unref();
  }

  /** Takes out rows that are done and requests that have ended, and closes the gaps between the slots. */
  #leave(): void {
    for (const job of this.#jobs) {
      if (job.cancelled || job.request.signal?.aborted) {
        job.fail(new InterruptedError('generate: stopped by the caller'));
      }
      if (job.settled) this.#jobs.delete(job);
    }
    const { cache } = this.#decoding;
    const reads = this.#rows.length;
    for (let i = reads - 1; i >= 0; i--) {
      const row = this.#rows[i] as Row;
      if (!row.done && !row.job.settled) continue;
      const last = this.#rows.pop() as Row;
      if (last === row) continue;
      cache.copy(this.#rows.length, i, last.length);
      this.#rows[i] = last;
    }
    if (this.#reading?.jobs.every(({ settled }) => settled)) this.#reading = undefined;
    if (this.#reading !== undefined) cache.copy(reads, this.#rows.length, this.#reading.done);
    const waiting = this.#queue.filter(({ job }) => !job.settled);
    if (waiting.length < this.#queue.length) this.#queue.splice(0, this.#queue.length, ...waiting);
  }

  /** Reads prompts, or a piece of one. False if there is nothing to read or no room. */
  async #read(): Promise<boolean> {
    if (this.#reading === undefined) this.#admit();
    const reading = this.#reading;
    if (reading === undefined) return false;
    const { jobs, done } = reading;
    const stepTokens = (this.#lot as Lot).stepTokens;
    const whole = jobs.length > 1;
    const reads = jobs.map(({ request: { prompt } }) => ({
      tokens: whole ? prompt : prompt.slice(done, done + stepTokens),
      past: done,
    }));
    const order = ordered(jobs, (job) => rank(job, job.request.maxNewTokens === 0));
    const result = await this.#decoding.run(this.#rows.length, reads, order);
    if (!whole) {
      const [{ request }] = jobs as [Job];
      reading.done += (reads[0] as { tokens: readonly number[] }).tokens.length;
      if (reading.done < request.prompt.length) return true;
    }
    await this.#enter(reading, order, result);
    this.#reading = undefined;
    return true;
  }

  /** Gives slots to waiting samples, and reads the prompts that are not in the cache yet. */
  #admit(): void {
    const entries: Entry[] = [];
    const jobs = new Set<Job>();
    const length = (job: Job) => job.request.prompt.length;
    let longest = 0;
    let capacity = Math.max(0, ...this.#rows.map(({ job }) => slotLength(job)));
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const { job } = next;
      const taken = this.#rows.length + entries.length;
      if (taken === 0) this.#lot = job.lot;
      const lot = this.#lot as Lot;
      const needed = Math.max(capacity, slotLength(job));
      if (taken > 0) {
        if (job.lot !== lot || taken >= lot.slots) break;
        if ((taken + 1) * slotSize(needed) > this.#positions) break;
      }
      const sibling = jobs.has(job) ? -1 : this.#rows.findIndex((row) => row.job === job);
      if (sibling >= 0) {
        // Rows have the slots before those of prompts.
        if (entries.length > 0) break;
        this.#reserve(this.#rows.length + 1, needed);
        this.#decoding.cache.copy(sibling, this.#rows.length, length(job) - 1);
        // The last token is read again, for its scores.
        this.#rows.push(newRow(next, length(job) - 1, job.request.prompt.at(-1) as number));
      } else {
        const most = Math.max(longest, length(job));
        if (entries.length > 0 && (jobs.has(job) ? jobs.size : jobs.size + 1) * most > lot.stepTokens) break;
        longest = most;
        jobs.add(job);
        entries.push(next);
      }
      capacity = needed;
      this.#queue.shift();
    }
    if (entries.length === 0) return;
    this.#reading = { jobs: [...jobs], entries, done: 0 };
    this.#reserve(this.#rows.length + entries.length, capacity);
  }

  #reserve(slots: number, capacity: number): void {
    this.#decoding.cache.reserve(
      slots,
      capacity,
      this.#rows.map(({ length }) => length),
    );
  }

  /** Makes rows of samples whose prompts have been read, and draws their first tokens. */
  async #enter({ jobs, entries }: Reading, order: readonly number[], result: ReadResult): Promise<void> {
    const first = this.#rows.length;
    const slotOf = new Map(jobs.map((job, i) => [job, i]));
    // Slots are filled from the last one backwards: the slot a prompt was read into is overwritten only by itself or
    // after it has been copied away.
    for (const [slot, { job }] of [...entries.entries()].reverse()) {
      const source = slotOf.get(job) as number;
      this.#decoding.cache.copy(first + source, first + slot, job.request.prompt.length);
    }
    const rowOf = new Map(order.map((i, row) => [jobs[i] as Job, row]));
    const choices: { row: Row; at: number }[] = [];
    const adjusted = new Set<Job>();
    for (const entry of entries) {
      const { job } = entry;
      const row = newRow(entry, job.request.prompt.length, -1);
      this.#rows.push(row);
      const at = rowOf.get(job) as number;
      if (job.request.maxNewTokens === 0) {
        this.#close(row, at, result);
        continue;
      }
      // The samples of a request share the scores.
      if (!adjusted.has(job)) this.#adjust(row, at, result);
      adjusted.add(job);
      choices.push({ row, at });
    }
    await this.#choose(choices, result);
  }

  /** Feeds every row's pending token. */
  async #step(): Promise<void> {
    const rows = this.#rows;
    const order = ordered(rows, ({ job, next }) => rank(job, next !== 'token'));
    const result = await this.#decoding.run(
      0,
      rows.map(({ pending, length }) => ({ tokens: [pending], past: length })),
      order,
    );
    const choices: { row: Row; at: number }[] = [];
    for (const [at, i] of order.entries()) {
      const row = rows[i] as Row;
      row.length++;
      switch (row.next) {
        case 'token':
          this.#adjust(row, at, result);
          choices.push({ row, at });
          break;
        case 'embed':
          feedEmbed(row);
          break;
        case 'end':
          this.#close(row, at, result);
          break;
        default:
          row.next satisfies never;
      }
    }
    await this.#choose(choices, result);
    await this.#probe();
  }

  /** The row's embedding is there. */
  #close(row: Row, at: number, { hidden }: ReadResult): void {
    const width = this.#config.hiddenSize;
    row.completion.hidden = hidden.slice(at * width, (at + 1) * width);
    this.#finish(row);
  }

  #finish(row: Row): void {
    row.done = true;
    row.job.finish(row.sample, row.completion);
  }

  /** Changes a row's scores as its settings want. */
  #adjust({ job, completion, seen }: Row, at: number, { scores }: ReadResult): void {
    const { vocabSize } = this.#config;
    const own = scores.subarray(at * vocabSize, (at + 1) * vocabSize);
    const { repetitionPenalty, minNewTokens, stop, embedToken } = job.request;
    if (seen !== undefined) penalise(own, seen, repetitionPenalty);
    if (completion.tokens.length >= minNewTokens) return;
    for (const token of stop) own[token] = -Infinity;
    if (embedToken !== undefined) own[embedToken] = -Infinity;
  }

  async #choose(choices: readonly { row: Row; at: number }[], { scores }: ReadResult): Promise<void> {
    const draws = await this.#sampler.choose(
      scores,
      choices.map(({ row, at }): Choice => ({ row: at, sampling: row.job.request, random: row.random })),
    );
    for (const [i, { row }] of choices.entries()) this.#accept(row, draws[i] as Draw);
  }

  /** Takes a token into a row. */
  #accept(row: Row, { token, logProbability }: Draw): void {
    const { job, sample, completion } = row;
    if (job.settled) return;
    if (Number.isNaN(logProbability)) {
      job.fail(new RangeError('generate: no token can be drawn, because the scores of the model are NaN'));
      return;
    }
    const { embedToken, forceEmbed, stop, maxNewTokens } = job.request;
    row.pending = token;
    row.seen?.add(token);
    completion.tokens.push(token);
    completion.logProbabilities.push(logProbability);
    job.token({ sample, token, logProbability });
    if (token === embedToken) completion.finish = 'embed';
    else if (stop.includes(token)) completion.finish = 'stop';
    else if (completion.tokens.length < maxNewTokens) return;
    // An embed token still has to be fed, even when it was the last one allowed.
    if (completion.finish === 'embed') row.next = 'end';
    else if (!forceEmbed) this.#finish(row);
    else if (completion.finish === 'stop') feedEmbed(row);
    else row.next = 'embed';
  }

  /**
   * Feeds the embed token to rows whose state there was asked for, without counting it: their next token is written over
   * it. Rows between them read a token for nothing.
   */
  async #probe(): Promise<void> {
    const asked = this.#rows.map(({ job, sample, completion }) =>
      job.probes.filter((probe) => probe.sample === sample && probe.tokens < completion.tokens.length),
    );
    const first = asked.findIndex((probes) => probes.length > 0);
    if (first < 0) return;
    const last = asked.findLastIndex((probes) => probes.length > 0);
    const rows = this.#rows.slice(first, last + 1);
    const { hidden } = await this.#decoding.run(
      first,
      rows.map(({ job, length }) => ({ tokens: [job.request.embedToken ?? 0], past: length })),
    );
    const width = this.#config.hiddenSize;
    for (const [i, { job, completion }] of rows.entries()) {
      for (const probe of asked[first + i] ?? []) {
        job.probes.splice(job.probes.indexOf(probe), 1);
        probe.resolve({
          hidden: hidden.slice(i * width, (i + 1) * width),
          tokens: completion.tokens.length - 1,
        });
      }
    }
  }
}

/** Tokens that a request's rows have at most: an embed token may follow the last one. */
const slotLength = ({ request: { prompt, maxNewTokens } }: Job): number => prompt.length + maxNewTokens + 1;

function feedEmbed(row: Row): void {
  row.pending = row.job.request.embedToken as number;
  row.next = 'end';
}

function newRow(entry: Entry, length: number, pending: number): Row {
  const { prompt, seed, index, repetitionPenalty } = entry.job.request;
  const completion: Completion = { tokens: [], logProbabilities: [], finish: 'length' };
  entry.job.written[entry.sample] = completion;
  return {
    ...entry,
    random: randomStream(seed, 'generate', index, entry.sample),
    length,
    pending,
    next: 'token',
    done: false,
    completion,
    seen: repetitionPenalty === 1 ? undefined : new Set(prompt),
  };
}

/** Rows that are sampled in one way lie side by side, those that are not sampled at the end. */
const RANKS = ['greedy', 'whole', 'truncated'] as const;
const rank = ({ request }: Job, unsampled: boolean): number =>
  unsampled ? RANKS.length : RANKS.indexOf(kindOf(request));

/** The indices of the items by rank, those of one rank in their order. */
function ordered<T>(items: readonly T[], rankOf: (item: T) => number): number[] {
  const ranks = items.map(rankOf);
  return [...items.keys()].sort((a, b) => (ranks[a] as number) - (ranks[b] as number));
}
