/** Rehearses generation for batches as `Generator` does it: what it costs, from the lengths of prompts and completions. */
import { addWork, NO_WORK, Rehearsal, type Work } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import type { InferenceWeights } from '../decoder/index.js';
import { positionBytes, slotSize } from './cache.js';
import { BATCH_TOKENS, DEFAULT_CACHE_BYTES } from './generator.js';
import { BATCH_SLOTS } from './options.js';
import { generationProgram } from './program.js';
import { distributionProgram } from './sampler.js';

export interface GenerationPlan {
  /** Tokens of each prompt. */
  prompts: readonly number[];
  /** Completions of each prompt. Default 1. */
  samples?: number;
  /** Tokens that a completion may have, for which there is room. */
  maxNewTokens: number;
  /** Tokens of a completion on average. Default `maxNewTokens`. */
  newTokens?: number;
}

const FLOAT = Float32Array.BYTES_PER_ELEMENT;

export class GenerationRehearsal {
  readonly #config: ModelConfig;
  readonly #sizes: Readonly<Record<string, number>>;
  readonly #decoding: Rehearsal;
  readonly #sampling: Rehearsal;
  /** Runs with the same sizes are rehearsed once. */
  readonly #known = new Map<string, Work>();
  /** Positions of the cache. */
  #positions = 0;
  #rows = 0;
  /** Bytes of keys and values of prompts that nothing follows. */
  #passing = 0;

  /** @param sizes of symbols that the weights are declared with. */
  constructor(
    config: ModelConfig,
    weightsIn: InferenceWeights['weightsIn'],
    sizes: Readonly<Record<string, number>> = {},
  ) {
    this.#sizes = sizes;
    this.#config = config;
    this.#decoding = new Rehearsal(generationProgram(config, weightsIn));
    this.#sampling = new Rehearsal(distributionProgram(config.vocabSize, 'whole'));
  }

  /** Bytes of the key/value cache. */
  get cache(): number {
    return this.#positions * positionBytes(this.#config);
  }

  /** Bytes of everything else: between the nodes, and scores and probabilities of each row. */
  get resident(): number {
    const { vocabSize, hiddenSize } = this.#config;
    const results = this.#rows * (2 * vocabSize + hiddenSize) * FLOAT;
    return this.#decoding.resident + this.#sampling.resident + results + this.#passing;
  }

  /** Bytes of weights in files that the session holds. */
  get weights(): number {
    return this.#decoding.weights;
  }

  /** Sessions, and the kernels that they consist of. */
  get sessions(): { count: number; kernels: number } {
    return { count: 2, kernels: this.#decoding.kernels + this.#sampling.kernels };
  }

  /** A call of `Generator.generate`. */
  generate({ prompts, samples = 1, maxNewTokens, newTokens = maxNewTokens }: GenerationPlan): Work {
    const capacity = slotSize(Math.max(...prompts) + maxNewTokens + 1);
    const most = Math.max(1, Math.floor(DEFAULT_CACHE_BYTES / positionBytes(this.#config) / capacity));
    const slots = Math.min(BATCH_SLOTS, most);
    const entries = prompts.flatMap((length, prompt) =>
      Array.from({ length: samples }, () => ({ prompt, length })),
    );
    let total = NO_WORK;
    for (let at = 0; at < entries.length; at += slots) {
      const wave = entries.slice(at, at + slots);
      total = addWork(total, this.#read(wave, capacity));
      const step = this.#run({ batch: wave.length, length: 1, capacity });
      total = addWork(total, addWork(step, this.#sample(wave.length)), newTokens);
    }
    return total;
  }

  /** A run of `SharedEncoder`: sequences of at most `length` tokens. */
  encode(batch: number, length: number): Work {
    const { kvHeads, headDim } = this.#config;
    this.#passing = Math.max(this.#passing, 2 * FLOAT * batch * kvHeads * length * headDim);
    return this.#run({ batch, length, capacity: length }, 1);
  }

  /** Reads the prompts of some slots, each once. */
  #read(wave: readonly { prompt: number; length: number }[], capacity: number): Work {
    let total = NO_WORK;
    let [rows, at] = [0, 0];
    while (at < wave.length) {
      const jobs = new Set<number>();
      let longest = 0;
      const first = at;
      for (; at < wave.length; at++) {
        const { prompt, length } = wave[at] as { prompt: number; length: number };
        const count = jobs.has(prompt) ? jobs.size : jobs.size + 1;
        if (at > first && count * Math.max(longest, length) > BATCH_TOKENS) break;
        jobs.add(prompt);
        longest = Math.max(longest, length);
      }
      rows += at - first;
      this.#reserve(rows * capacity);
      total = addWork(total, this.#run({ batch: jobs.size, length: longest, capacity }));
    }
    return total;
  }

  /** As `KeyValueCache.reserve`. */
  #reserve(needed: number): void {
    if (needed <= this.#positions) return;
    const most = Math.floor(DEFAULT_CACHE_BYTES / positionBytes(this.#config));
    this.#positions = Math.max(needed, Math.min(2 * this.#positions, most));
  }

  /** @param scored rows that get scores. */
  #run(sizes: { batch: number; length: number; capacity: number }, scored = sizes.batch): Work {
    this.#rows = Math.max(this.#rows, scored);
    const all = { ...this.#sizes, ...sizes, positions: sizes.capacity, scored };
    return this.#once(JSON.stringify(all), () => this.#decoding.run(all).work);
  }

  #sample(rows: number): Work {
    return this.#once(`sample ${rows}`, () => this.#sampling.run({ rows }).work);
  }

  #once(key: string, run: () => Work): Work {
    const work = this.#known.get(key) ?? run();
    this.#known.set(key, work);
    return work;
  }
}
