/** Reference training: k steps of AdamW on any objective, with everything a step did kept for comparison. */
import { AdamW, type AdamWOptions, globalNorm, type NamedArrays } from './adamw.js';
import { asParameters, type DecoderConfig, type DecoderOptions, type Weight } from './decoder.js';
import { type ReferenceModel, referenceModel } from './objectives.js';
import { gradients, type Tensor } from './tape.js';

export interface ReferenceTrainingOptions<Batch> {
  /** The scalar to minimise. */
  readonly objective: (model: ReferenceModel, batch: Batch) => Tensor;
  readonly optimizer: AdamWOptions;
  /** The rate of step 0, 1, ...; the optimizer's by default. */
  readonly learningRate?: (step: number) => number;
  /** Tensors that are trained, by name; all by default. */
  readonly trainable?: (name: string) => boolean;
  /** Elements that stay as they are, in tensors that are trained; none by default. */
  readonly frozen?: (name: string, element: number) => boolean;
  readonly decoder?: DecoderOptions;
}

export interface ReferenceStep {
  readonly loss: number;
  /** Before clipping; only of what is trained. */
  readonly gradients: NamedArrays;
  /** The norm of all gradients together, before clipping. */
  readonly gradientNorm: number;
  /** Weight after the step minus weight before it; only of what is trained. */
  readonly changes: NamedArrays;
}

/** One optimisation step per batch. `weights` are left as they are. */
export function referenceTraining<Batch>(
  config: DecoderConfig,
  weights: ReadonlyMap<string, Weight>,
  batches: readonly Batch[],
  options: ReferenceTrainingOptions<Batch>,
): ReferenceStep[] {
  const trainable = options.trainable ?? (() => true);
  const current = new Map(
    Array.from(weights, ([name, { shape, data }]) => [name, { shape, data: Float64Array.from(data) }]),
  );
  const names = [...current.keys()].filter(trainable);
  const trained = new Map(Array.from(current, ([name, { data }]) => [name, data]));
  const optimizer = new AdamW(options.optimizer);

  return batches.map((batch, step) => {
    const parameters = asParameters(current, trainable);
    const loss = options.objective(referenceModel(config, parameters, options.decoder), batch);
    const leaves = names.map((name) => parameters.get(name)!);
    const arrays = gradients(loss, leaves);
    const frozen = options.frozen ?? (() => false);
    const byName = new Map(
      names.map((name, i) => [name, arrays[i]!.map((value, j) => (frozen(name, j) ? 0 : value))]),
    );
    optimizer.update(trained, byName, options.learningRate?.(step));
    // Decay moves what has no gradient too.
    for (const [i, name] of names.entries()) {
      for (const j of trained.get(name)!.keys()) {
        if (frozen(name, j)) trained.get(name)![j] = leaves[i]!.data[j]!;
      }
    }
    const changes = new Map(
      names.map((name, i) => [name, trained.get(name)!.map((value, j) => value - leaves[i]!.data[j]!)]),
    );
    return { loss: loss.item(), gradients: byName, gradientNorm: globalNorm(byName), changes };
  });
}
