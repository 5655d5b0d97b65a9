/** The noise of dropout masks: of a token by its sequence and position, whatever batch or piece it is in. */
import { type Dim, f32, type HostTensor } from 'onnx-grad';
import { columnNoiseName, rowNoiseName } from '../decoder/index.js';
import { randomStream } from '../run/index.js';
import type { CollatedBatch, TrainingSequence } from './batch.js';

/** The seed of the masks of an update of a stage. */
export const dropoutSeed = (stage: string, seed: number, update: number): number =>
  randomStream(seed, stage, 'dropout', update).integer(2 ** 31);

/** The noise of one update. */
export class DropoutNoise {
  readonly #seed: number;
  readonly #rows = new Map<number, Float32Array>();
  readonly #columns: Readonly<Record<string, HostTensor>>;

  /** @param linears how many inputs each linear layer with dropout has. */
  constructor(seed: number, linears: ReadonlyMap<string, number>) {
    this.#seed = seed;
    this.#columns = Object.fromEntries(
      [...linears].map(([name, inputs]) => [
        columnNoiseName(name),
        f32(this.#draw(inputs, 'columns', name), [inputs]),
      ]),
    );
  }

  /**
   * The noise that a program reads.
   * @param rows flat positions of the collated batch that the rows of its matrices are, by their dimension.
   */
  feeds(
    sequences: readonly TrainingSequence[],
    { start, tokens }: CollatedBatch,
    rows: ReadonlyMap<Dim, readonly number[]>,
  ): Record<string, HostTensor> {
    const noise = new Float32Array(tokens).fill(1);
    for (const [member, first] of start) noise.set(this.#ofSequence(member, sequences), first);
    const ofRows = [...rows].map(([dim, positions]) => {
      const own = Float32Array.from(positions, (at) => noise[at] as number);
      return [rowNoiseName(dim), f32(own, [own.length])] as const;
    });
    return { ...this.#columns, ...Object.fromEntries(ofRows) };
  }

  #ofSequence(member: number, sequences: readonly TrainingSequence[]): Float32Array {
    const known = this.#rows.get(member);
    if (known !== undefined) return known;
    const noise = this.#draw(sequences[member]?.ids.length ?? 0, 'rows', member);
    this.#rows.set(member, noise);
    return noise;
  }

  #draw(length: number, ...labels: (string | number)[]): Float32Array {
    const random = randomStream(this.#seed, 'dropout', ...labels);
    return Float32Array.from({ length }, () => 1 + random.uniform());
  }
}
