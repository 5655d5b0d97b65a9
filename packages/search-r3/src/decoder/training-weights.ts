/** The weights of a model as training sees them: all of them trained, or an adapter on a frozen base. */
import type { Graph, HostTensor, Value } from 'onnx-grad';
import type { Adapter, Checkpoint, ModelConfig, Weights } from '../checkpoint/index.js';
import { type AdapterForm, adaptedInputs, adapterFeeds, declareAdapter } from './adapter.js';
import { floatWeights, lookupIn, parameterInputs } from './float-weights.js';
import { weightsOf } from './precision.js';
import { tokenRowInputs, trainedInputs, trainedWeights } from './token-row.js';
import { type DecoderWeights, type FrozenWeights, parameterFeeds } from './weights.js';

export interface DeclaredWeights {
  /** With gradients for `trained`. */
  weights: DecoderWeights;
  /** The same model as it was before training: without its adapter. Undefined where all weights are trained. */
  base: DecoderWeights | undefined;
  /** The inputs that get gradients, by the names of `TrainingWeights.trained`. */
  trained: ReadonlyMap<string, Value>;
}

export interface TrainingWeights {
  /** Declares everything in a graph. @param use `dropout`: with the dropout of `dropout`. Default without. */
  declare(graph: Graph, use?: { dropout: boolean }): DeclaredWeights;
  /** The inputs of each linear layer that has dropout in training; undefined for none. */
  readonly dropout?: ReadonlyMap<string, number> | undefined;
  /** Frozen and trained arrays by name of the input, by reference. */
  readonly feeds: Readonly<Record<string, HostTensor>>;
  /** What an optimiser changes. */
  readonly trained: Weights;
}

/**
 * All weights are trained, in place.
 * @param token of the token tables, only the row of this token is trained. Default all rows.
 */
export function fullTraining(
  { config, weights }: Pick<Checkpoint, 'config' | 'weights'>,
  token?: number,
): TrainingWeights {
  const trained = trainedWeights(weights, config, token);
  return {
    trained,
    feeds: { ...parameterFeeds({ weights }), ...parameterFeeds({ weights: trained }) },
    declare: fullDeclaration(config, token),
  };
}

/** What `fullTraining` declares, for which it needs no weights. */
export const fullDeclaration =
  (config: ModelConfig, token?: number): TrainingWeights['declare'] =>
  (graph) => {
    const parameters = parameterInputs(graph, config);
    const row = token === undefined ? undefined : tokenRowInputs(graph, config, token);
    return {
      weights: floatWeights(config, lookupIn(parameters), { trained: true, token: row }),
      base: undefined,
      trained: trainedInputs(parameters, row),
    };
  };

/** Only an adapter is trained, in place, on weights that stay as they are. */
export function adapterTraining(frozen: FrozenWeights, adapter: Adapter): TrainingWeights {
  const { config } = frozen;
  return {
    trained: adapter.weights,
    feeds: { ...frozen.feeds, ...adapterFeeds(config, adapter, adapter) },
    declare: adapterDeclaration(frozen, adapter),
    dropout: adapter.dropout ? adaptedInputs(config, adapter) : undefined,
  };
}

/** What `adapterTraining` declares, for which it needs no weights. */
export const adapterDeclaration =
  (
    frozen: Omit<FrozenWeights, 'feeds'>,
    form: AdapterForm & Pick<Adapter, 'dropout'>,
  ): TrainingWeights['declare'] =>
  (graph, { dropout } = { dropout: false }) => {
    const { config, precision } = frozen;
    const lookup = frozen.declare(graph);
    const { overlay, trained } = declareAdapter(graph, config, form, dropout ? form.dropout : undefined);
    const use = { trained: true };
    return {
      weights: weightsOf(precision, config, lookup, frozen.has, { ...use, overlay }),
      base: weightsOf(precision, config, lookup, frozen.has, use),
      trained,
    };
  };
