/** Encodes what arrives at the same time together, as the scheduler of generation does for rows. */
import { setImmediate } from 'node:timers/promises';
import type { Model } from '../model/index.js';
import { InterruptedError } from '../run/index.js';

/** Tokens in one run at most, padding included; a longer sequence runs alone. */
const RUN_TOKENS = 8192;

interface Entry {
  ids: Promise<readonly number[]>;
  signal: AbortSignal | undefined;
  resolve: (embedding: Float32Array) => void;
  reject: (error: unknown) => void;
}

interface Sequence extends Entry {
  tokens: readonly number[];
}

export class EncodingQueue {
  readonly #model: Model;
  readonly #entries: Entry[] = [];
  #serving = false;

  constructor(model: Model) {
    this.#model = model;
  }

  /**
   * The embedding at the last of the ids, as `Encoder.encode` gives it. What is asked for before the event loop
   * turns, or during a run, is encoded together when its ids are there.
   * @throws the error of `ids`; InterruptedError when aborted, after the run at hand.
   */
  encode(ids: Promise<readonly number[]>, signal?: AbortSignal): Promise<Float32Array> {
    // Its error is told when its turn comes.
    ids.catch(() => {});
    const embedding = new Promise<Float32Array>((resolve, reject) => {
      this.#entries.push({ ids, signal, resolve, reject });
    });
    if (!this.#serving) void this.#serve();
    return embedding;
  }

  async #serve(): Promise<void> {
    this.#serving = true;
    while (this.#entries.length > 0) {
      await setImmediate();
      const sequences: Sequence[] = [];
      for (const entry of this.#entries.splice(0)) {
        try {
          sequences.push({ ...entry, tokens: await entry.ids });
        } catch (error) {
          entry.reject(error);
        }
      }
      for (const run of runsOf(sequences)) await this.#encode(run.filter(isWanted));
    }
    this.#serving = false;
  }

  async #encode(run: readonly Sequence[]): Promise<void> {
    if (run.length === 0) return;
    try {
      const encoder = await this.#model.encoder();
      const matrix = await encoder.encode(
        run.map(({ tokens }) => tokens),
        { maxTokens: RUN_TOKENS },
      );
      const width = encoder.dimension;
      for (const [i, sequence] of run.entries()) {
        if (isWanted(sequence)) sequence.resolve(matrix.slice(i * width, (i + 1) * width));
      }
    } catch (error) {
      for (const { reject } of run) reject(error);
    }
  }
}

/** Rejects a sequence whose caller has given up. */
function isWanted({ signal, reject }: Entry): boolean {
  if (signal?.aborted !== true) return true;
  reject(new InterruptedError('embed: stopped by the caller'));
  return false;
}

/** Sequences by length, cut into runs. */
function runsOf(sequences: readonly Sequence[]): Sequence[][] {
  const runs: Sequence[][] = [];
  for (const sequence of sequences.toSorted((a, b) => b.tokens.length - a.tokens.length)) {
    const run = runs.at(-1);
    const longest = run?.[0]?.tokens.length ?? 0;
    if (run !== undefined && (run.length + 1) * longest <= RUN_TOKENS) run.push(sequence);
    else runs.push([sequence]);
  }
  return runs;
}
