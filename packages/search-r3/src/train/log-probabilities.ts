/** Log-probabilities of given tokens under a model that is not trained, such as the reference of a KL penalty. */
import { f32, floats, i64, Session } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { type InferenceWeights, ropeTables, type TrainingWeights } from '../decoder/index.js';
import { chunkByLength, collate, longest, type TrainingSequence } from './batch.js';
import { headRows } from './head.js';
import { labelStatesProgram, logProbabilityProgram } from './program.js';
import { inverseTemperature } from './terms/policy-gradient.js';

export class LogProbabilities {
  readonly #config: ModelConfig;
  readonly #states: Session;
  readonly #head: Session;

  private constructor(config: ModelConfig, states: Session, head: Session) {
    this.#config = config;
    this.#states = states;
    this.#head = head;
  }

  /** With weights for training, by the arithmetic of the training program. */
  static async create(
    config: ModelConfig,
    weights: TrainingWeights | InferenceWeights,
  ): Promise<LogProbabilities> {
    const states = await Session.create(labelStatesProgram(config, weights));
    const head = await Session.create(logProbabilityProgram(config, weights));
    states.bind(weights.feeds);
    head.bind(weights.feeds);
    return new LogProbabilities(config, states, head);
  }

  /** By sequence, log p of each label's target at the temperature. */
  async compute(
    sequences: readonly TrainingSequence[],
    temperature: number,
    maxTokens: number,
  ): Promise<Float32Array[]> {
    const result = sequences.map(({ labels }) => new Float32Array(labels.length));
    for (const chunk of chunkByLength(sequences, maxTokens)) {
      const members = chunk.filter((member) => (sequences[member] as TrainingSequence).labels.length > 0);
      if (members.length === 0) continue;
      const collated = collate(sequences, [members], () => 'ids');
      const rows: number[] = [];
      const targets: number[] = [];
      for (const member of members) {
        const { ids, labels } = sequences[member] as TrainingSequence;
        for (const { position } of labels) {
          rows.push((collated.start.get(member) as number) + position);
          targets.push(ids[position + 1] as number);
        }
      }
      const { hidden } = await this.#states.run({
        ...collated.feeds,
        ...ropeTables(this.#config, longest(sequences, members)),
        label_rows: i64(rows, [rows.length]),
      });
      const values = await this.#score(floats(hidden), targets, temperature);
      let at = 0;
      for (const member of members) {
        const own = result[member] as Float32Array;
        own.set(values.subarray(at, at + own.length));
        at += own.length;
      }
    }
    return result;
  }

  async dispose(): Promise<void> {
    await this.#states.dispose();
    await this.#head.dispose();
  }

  /** Log p of targets after hidden states, with few logits at once. */
  async #score(hidden: Float32Array, targets: readonly number[], temperature: number): Promise<Float32Array> {
    const { hiddenSize, vocabSize } = this.#config;
    const values = new Float32Array(targets.length);
    const most = headRows(vocabSize);
    for (let from = 0; from < targets.length; from += most) {
      const part = targets.slice(from, from + most);
      const states = hidden.subarray(from * hiddenSize, (from + part.length) * hiddenSize);
      const run = await this.#head.run({
        hidden: f32(states, [part.length, hiddenSize]),
        label_targets: i64(part, [part.length]),
        ...inverseTemperature(temperature),
      });
      values.set(floats(run.logProbabilities), from);
    }
    return values;
  }
}
