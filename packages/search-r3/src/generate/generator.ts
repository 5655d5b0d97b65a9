/**
 * Batched generation with continuous slots: prompts are read together, each sample gets a slot of the cache, finished
 * rows give their slot to waiting ones. A row that emits the embed token is fed that token once more, and the hidden
 * state there is its embedding (the token itself, as input).
 */
import { f32, floats, type HostTensor, i64, Session } from 'onnx-grad';
import type { z } from 'zod';
import type { ModelConfig } from '../checkpoint/index.js';
import { padRight, ropeTables } from '../model/index.js';
import { InputError, InterruptedError, type RandomStream, randomStream, validate } from '../run/index.js';
import { KeyValueCache } from './cache.js';
import { checkPrompts, generateOptionsSchema } from './options.js';
import { generationProgram } from './program.js';
import { draw, type SamplingOptions } from './sampling.js';

export interface GenerateOptions extends SamplingOptions {
  /** New tokens at most, the embed token included. */
  maxNewTokens: number;
  /** Token ids that end a completion; they are part of it. */
  stop: readonly number[];
  /** The embed token: ends a completion and yields its embedding. Default none. */
  embedToken?: number;
  /** Completions per prompt. Default 1. */
  samples?: number;
  /** Seed of the draws; each (prompt, sample) has its own stream, so batching changes nothing. Default 0. */
  seed?: number;
  /** Rows decoded at the same time at most. Default 128. */
  slots?: number;
  signal?: AbortSignal;
  /** Called with every token as it is drawn. */
  onToken?: (event: { prompt: number; sample: number; token: number }) => void;
  /** Called with every completion as it ends. */
  onFinished?: (event: { prompt: number; sample: number; completion: Completion }) => void;
}

type OptionsSchema = ReturnType<typeof generateOptionsSchema>;

/** With all defaults filled in. */
type ResolvedOptions = z.output<OptionsSchema> & Pick<GenerateOptions, 'signal' | 'onToken' | 'onFinished'>;

export type FinishReason = 'embed' | 'stop' | 'length';

export interface Completion {
  tokens: number[];
  /** Log-probability of each token at the sampling temperature (at temperature 0: at temperature 1). */
  logProbabilities: number[];
  finish: FinishReason;
  /** Hidden state at the embed token, not normalised; only with finish `embed`. */
  hidden?: Float32Array;
}

interface Row {
  prompt: number;
  sample: number;
  random: RandomStream;
  /** Tokens in the cache. */
  length: number;
  /** Drawn but not yet fed. */
  pending: number;
  completion: Completion;
}

/** Padded tokens read in one run: activations of prompts take much more memory than those of single new tokens. */
const MOST_TOKENS = 8192;

/** Generates with the parameters it was created on; they may be updated in place between calls. */
export class Generator {
  readonly #config: ModelConfig;
  readonly #schema: OptionsSchema;
  readonly #session: Session;
  readonly #inPlace: boolean;
  #cache: KeyValueCache | undefined;
  #buffers: StepResult | undefined;
  /** Ends with the latest call: cache and buffers serve one at a time. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(config: ModelConfig, session: Session) {
    this.#config = config;
    this.#schema = generateOptionsSchema(config);
    this.#session = session;
    this.#inPlace = session.program.inPlace;
  }

  /**
   * `parameters` are bound by reference. `copyCaches` runs without shared memory (the fallback, and what `bench`
   * compares with). Errors: InputError for heads that cached attention can not take.
   */
  static async create(
    config: ModelConfig,
    parameters: Readonly<Record<string, HostTensor>>,
    options: { copyCaches?: boolean; threads?: number } = {},
  ): Promise<Generator> {
    if (config.headDim % 8 !== 0) {
      const found = String(config.headDim);
      throw new InputError({ source: 'config.json', field: 'head_dim', expected: 'a multiple of 8', found });
    }
    const program = generationProgram(config, !(options.copyCaches ?? false));
    const session = await Session.create(program, {
      ...(options.threads !== undefined && { threads: options.threads }),
    });
    session.bind(parameters);
    return new Generator(config, session);
  }

  /**
   * Completions by prompt and sample; calls take turns. Errors: InputError for bad options and for prompts that are
   * empty, hold what is no token of the model, or leave too few of its positions; InterruptedError when aborted.
   */
  async generate(prompts: readonly (readonly number[])[], options: GenerateOptions): Promise<Completion[][]> {
    const { signal, onToken, onFinished, ...plain } = options;
    const given = validate(this.#schema, plain, 'generate options');
    checkPrompts(prompts, given.maxNewTokens, this.#config);
    const resolved: ResolvedOptions = {
      ...given,
      ...(signal && { signal }),
      ...(onToken && { onToken }),
      ...(onFinished && { onFinished }),
    };
    const result = this.#turn.then(() => this.#generate(prompts, resolved));
    this.#turn = result.catch(() => {});
    return result;
  }

  async #generate(
    prompts: readonly (readonly number[])[],
    options: ResolvedOptions,
  ): Promise<Completion[][]> {
    const { samples, slots, maxNewTokens } = options;
    const results: Completion[][] = prompts.map(() => []);
    // The longest row also feeds its embed token.
    const longest = prompts.reduce((most, prompt) => Math.max(most, prompt.length), 0);
    const capacity = longest + maxNewTokens + 1;
    const cache = this.#reserve(Math.min(slots, prompts.length * samples), capacity);
    this.#session.bind(ropeTables(this.#config, capacity));

    const waiting = prompts.flatMap((_, prompt) =>
      Array.from({ length: samples }, (_, sample) => ({ prompt, sample })),
    );
    const active: Row[] = [];
    while (waiting.length > 0 || active.length > 0) {
      if (options.signal?.aborted) throw new InterruptedError('generate: stopped by the caller');
      const free = Math.min(slots, cache.slots) - active.length;
      if (waiting.length > 0 && free > 0) {
        const count = readable(waiting.slice(0, free), prompts);
        await this.#admit(waiting.splice(0, count), prompts, active, cache, options);
      } else {
        await this.#step(active, cache, options);
      }
      retire(active, cache, results, options);
    }
    return results;
  }

  async dispose(): Promise<void> {
    await this.#session.dispose();
  }

  /** Reads the prompts of new rows, each once, and copies their cache to all their samples. */
  async #admit(
    entering: readonly { prompt: number; sample: number }[],
    prompts: readonly (readonly number[])[],
    active: Row[],
    cache: KeyValueCache,
    options: ResolvedOptions,
  ): Promise<void> {
    const unique = [...new Set(entering.map(({ prompt }) => prompt))];
    const first = active.length;
    const sequences = unique.map((prompt) => prompts[prompt] as readonly number[]);
    const lengths = sequences.map((sequence) => sequence.length);
    const batch = padRight(sequences, 0);
    const run = await this.#run(batch, lengths, Math.max(...lengths), cache, first, options);
    // Slots are filled from the last prompt backwards: the slot a prompt was read into is overwritten only by itself
    // or after it has been copied away.
    const byPrompt = new Map(unique.map((prompt, i) => [prompt, i]));
    const slots = entering.map(({ prompt }, slot) => ({ prompt, slot }));
    for (const { prompt, slot } of slots.reverse()) {
      const source = byPrompt.get(prompt) as number;
      cache.copy(first + source, first + slot, lengths[source] as number);
    }
    for (const { prompt, sample } of entering) {
      const source = byPrompt.get(prompt) as number;
      const row: Row = {
        prompt,
        sample,
        random: randomStream(options.seed, 'generate', prompt, sample),
        length: lengths[source] as number,
        pending: -1,
        completion: { tokens: [], logProbabilities: [], finish: 'length' },
      };
      choose(row, run, source, options);
      active.push(row);
    }
  }

  /** Feeds every row's pending token. */
  async #step(active: Row[], cache: KeyValueCache, options: ResolvedOptions): Promise<void> {
    const batch = padRight(
      active.map((row) => [row.pending]),
      0,
    );
    const lengths = active.map((row) => row.length + 1);
    const run = await this.#run(batch, lengths, Math.max(...lengths), cache, 0, options);
    for (const [i, row] of active.entries()) {
      row.length++;
      if (row.pending === options.embedToken) {
        const width = this.#config.hiddenSize;
        row.completion.hidden = run.hidden.slice(i * width, (i + 1) * width);
        row.completion.finish = 'embed';
      } else {
        choose(row, run, i, options);
      }
    }
  }

  async #run(
    batch: { ids: HostTensor; batch: number; length: number },
    lengths: readonly number[],
    total: number,
    cache: KeyValueCache,
    first: number,
    options: ResolvedOptions,
  ): Promise<StepResult> {
    const { temperature } = options;
    const views = cache.view(first, batch.batch);
    // A prompt's last token stands at its own length; a single new token is the only one of its row.
    const offset = (i: number) => (batch.length === 1 ? 0 : (lengths[i] as number) - 1);
    const positions = Array.from({ length: batch.batch * batch.length }, (_, i) =>
      batch.length === 1 ? (lengths[i] as number) - 1 : i % batch.length,
    );
    const feeds: Record<string, HostTensor> = {
      ...views.feeds,
      ids: batch.ids,
      rows: i64(
        lengths.map((_, i) => i * batch.length + offset(i)),
        [batch.batch],
      ),
      last_index: {
        dtype: 'int32',
        shape: [batch.batch],
        data: Int32Array.from(lengths, (length) => length - 1),
      },
      total: { dtype: 'int32', shape: [], data: Int32Array.of(total) },
      inverse_temperature: f32(Float32Array.of(temperature === 0 ? 1 : 1 / temperature), []),
      positions: i64(positions, [batch.batch, batch.length]),
    };
    if (!this.#session.program.inputs.has('positions')) delete feeds.positions;
    if (!this.#inPlace) {
      const results = await this.#session.run(feeds);
      cache.store(first, results);
      return {
        hidden: floats(results.hidden),
        probabilities: floats(results.probabilities),
        best: results.best?.data as BigInt64Array,
      };
    }
    const { hiddenSize, vocabSize } = this.#config;
    const result = this.#results(batch.batch);
    await this.#session.runInPlace(feeds, {
      ...views.outputs,
      hidden: f32(result.hidden, [batch.batch, hiddenSize]),
      probabilities: f32(result.probabilities, [batch.batch, vocabSize]),
      best: { dtype: 'int64', shape: [batch.batch], data: result.best },
    });
    return result;
  }

  /** Memory for the outputs of `rows` rows, the same at every step: what a step returns is used before the next. */
  #results(rows: number): StepResult {
    const { hiddenSize, vocabSize } = this.#config;
    if (this.#buffers === undefined || this.#buffers.best.length < rows) {
      this.#buffers = {
        hidden: new Float32Array(rows * hiddenSize),
        probabilities: new Float32Array(rows * vocabSize),
        best: new BigInt64Array(rows),
      };
    }
    return {
      hidden: this.#buffers.hidden.subarray(0, rows * hiddenSize),
      probabilities: this.#buffers.probabilities.subarray(0, rows * vocabSize),
      best: this.#buffers.best.subarray(0, rows),
    };
  }

  #reserve(slots: number, capacity: number): KeyValueCache {
    if (this.#cache === undefined || this.#cache.slots < slots || this.#cache.capacity < capacity) {
      this.#cache = new KeyValueCache(this.#config, slots, capacity);
    }
    return this.#cache;
  }
}

/** How many of the rows can be read in one run: the first, and those after it while their padded prompts fit. */
function readable(rows: readonly { prompt: number }[], prompts: readonly (readonly number[])[]): number {
  const unique = new Set<number>();
  let longest = 0;
  for (const [count, { prompt }] of rows.entries()) {
    unique.add(prompt);
    longest = Math.max(longest, (prompts[prompt] as readonly number[]).length);
    if (count > 0 && unique.size * longest > MOST_TOKENS) return count;
  }
  return rows.length;
}

interface StepResult {
  hidden: Float32Array;
  probabilities: Float32Array;
  best: BigInt64Array;
}

/** Chooses a row's next token from row `i` of a step's results. */
function choose(row: Row, run: StepResult, i: number, options: ResolvedOptions): void {
  const vocabulary = run.probabilities.length / run.best.length;
  const probabilities = run.probabilities.subarray(i * vocabulary, (i + 1) * vocabulary);
  const best = Number(run.best[i]);
  const { token, logProbability } =
    options.temperature === 0
      ? { token: best, logProbability: Math.log(probabilities[best] as number) }
      : draw(probabilities, options, row.random);
  row.pending = token;
  row.completion.tokens.push(token);
  row.completion.logProbabilities.push(logProbability);
  options.onToken?.({ prompt: row.prompt, sample: row.sample, token });
}

/** Takes finished rows out and closes the gaps, so that active rows are always the first slots. */
function retire(
  active: Row[],
  cache: KeyValueCache,
  results: Completion[][],
  options: ResolvedOptions,
): void {
  const finished = (row: Row): boolean => {
    if (row.completion.finish === 'embed') return true;
    // An embed token still has to be fed, even when it was the last one allowed.
    if (row.pending === options.embedToken) return false;
    if (options.stop.includes(row.pending)) {
      row.completion.finish = 'stop';
      return true;
    }
    return row.completion.tokens.length >= options.maxNewTokens;
  };
  for (let i = active.length - 1; i >= 0; i--) {
    const row = active[i] as Row;
    if (!finished(row)) continue;
    const { prompt, sample, completion } = row;
    (results[prompt] as Completion[])[sample] = completion;
    options.onFinished?.({ prompt, sample, completion });
    const last = active.pop() as Row;
    if (last !== row) {
      cache.copy(active.length, i, last.length);
      active[i] = last;
    }
  }
}
