/** Log-probabilities of given tokens under a model that is not trained, such as the reference of a KL penalty. */
import { f32, floats, i64, Session } from 'onnx-grad';
import type { ModelConfig } from '../checkpoint/index.js';
import { type InferenceWeights, ropeTables, type TrainingWeights } from '../decoder/index.js';
import { chunkByLength, collate, longest, type TrainingSequence } from './batch.js';
import { logProbabilityProgram } from './program.js';

export class LogProbabilities {
  readonly #config: ModelConfig;
  readonly #session: Session;

  private constructor(config: ModelConfig, session: Session) {
    this.#config = config;
    this.#session = session;
  }

  /** With weights for training, by the arithmetic of the training program. */
  static async create(
    config: ModelConfig,
    weights: TrainingWeights | InferenceWeights,
  ): Promise<LogProbabilities> {
    const session = await Session.create(logProbabilityProgram(config, weights));
    session.bind(weights.feeds);
    return new LogProbabilities(config, session);
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
      const run = await this.#session.run({
        ...collated.feeds,
        ...ropeTables(this.#config, longest(sequences, members)),
        label_rows: i64(rows, [rows.length]),
        label_targets: i64(targets, [targets.length]),
        inverse_temperature: f32(Float32Array.of(1 / temperature), []),
      });
      const values = floats(run.log_probabilities);
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
    await this.#session.dispose();
  }
}
