/**
 * Reference forward pass of Llama, Qwen2 and Qwen3 decoders in float64, one unpadded sequence at a time, from weights
 * with their Hugging Face names. Sources: Touvron et al. 2023 (Llama: pre-norm, SwiGLU), Su et al. 2021 (rotary
 * embedding, in the rotate-half layout of the published checkpoints), Ainslie et al. 2023 (grouped queries), Zhang and
 * Sennrich 2019 (RMSNorm), Yang et al. 2024 and 2025 (Qwen2: biases on q, k, v; Qwen3: norms on each head's q and k).
 */
import {
  add,
  concat,
  constant,
  div,
  gatherRows,
  matmul,
  mean,
  mul,
  neg,
  parameter,
  reshape,
  type Shape,
  sigmoid,
  sizeOf,
  slice,
  softmax,
  sqrt,
  type Tensor,
  transpose,
  where,
} from './tape.js';

export type RopeScaling =
  | { readonly type: 'linear'; readonly factor: number }
  | {
      readonly type: 'llama3';
      readonly factor: number;
      readonly lowFreqFactor: number;
      readonly highFreqFactor: number;
      /** Context length of pre-training, in tokens. */
      readonly originalMaxPosition: number;
    }
  | {
      readonly type: 'yarn';
      readonly factor: number;
      readonly betaFast: number;
      readonly betaSlow: number;
      readonly originalMaxPosition: number;
      readonly truncate: boolean;
      readonly attentionFactor: number;
    }
  | { readonly type: 'longrope'; readonly factors: readonly number[]; readonly attentionFactor: number };

/** What the decoder needs of a model's configuration; the package's own `ModelConfig` fits. */
export interface DecoderConfig {
  readonly architecture: 'llama' | 'qwen2' | 'qwen3';
  readonly vocabSize: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  readonly rmsNormEps: number;
  readonly ropeTheta: number;
  readonly ropeScaling: RopeScaling | null;
  readonly tieWordEmbeddings: boolean;
  /** Biases on the q, k and v projections. */
  readonly attentionBias: boolean;
  /** A bias on the attention's output projection. */
  readonly outputBias: boolean;
  /** Biases on the gate, up and down projections. */
  readonly mlpBias: boolean;
  /** RMSNorm on each head's query and key, before the rotation. */
  readonly qkNorm: boolean;
}

/** Plain numbers, as read from or compared with a checkpoint. */
export interface Weight {
  readonly shape: Shape;
  readonly data: ArrayLike<number>;
}

/** The decoder's weights as tensors, by Hugging Face name. */
export type Parameters = ReadonlyMap<string, Tensor>;

/** Every weight as a leaf: tracked where `trainable` says so (all by default). */
export function asParameters(
  weights: ReadonlyMap<string, Weight>,
  trainable: (name: string) => boolean = () => true,
): Parameters {
  return new Map(
    Array.from(weights, ([name, { shape, data }]) => [
      name,
      trainable(name) ? parameter(data, shape) : constant(data, shape),
    ]),
  );
}

/** Names and shapes of all weights of a model with this configuration. */
export function weightShapes(config: DecoderConfig): Map<string, Shape> {
  const { hiddenSize: hidden, intermediateSize: inner } = config;
  const [queries, keys] = [config.heads * config.headDim, config.kvHeads * config.headDim];
  const shapes = new Map<string, Shape>([['model.embed_tokens.weight', [config.vocabSize, hidden]]]);
  for (let layer = 0; layer < config.layers; layer++) {
    const projections: [string, number, number, boolean][] = [
      ['self_attn.q', queries, hidden, config.attentionBias],
      ['self_attn.k', keys, hidden, config.attentionBias],
      ['self_attn.v', keys, hidden, config.attentionBias],
      ['self_attn.o', hidden, queries, config.outputBias],
      ['mlp.gate', inner, hidden, config.mlpBias],
      ['mlp.up', inner, hidden, config.mlpBias],
      ['mlp.down', hidden, inner, config.mlpBias],
    ];
    const prefix = `model.layers.${layer}`;
    for (const [name, outputs, inputs, bias] of projections) {
      shapes.set(`${prefix}.${name}_proj.weight`, [outputs, inputs]);
      if (bias) shapes.set(`${prefix}.${name}_proj.bias`, [outputs]);
    }
    shapes.set(`${prefix}.input_layernorm.weight`, [hidden]);
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [hidden]);
    if (config.qkNorm) {
      shapes.set(`${prefix}.self_attn.q_norm.weight`, [config.headDim]);
      shapes.set(`${prefix}.self_attn.k_norm.weight`, [config.headDim]);
    }
  }
  shapes.set('model.norm.weight', [hidden]);
  if (!config.tieWordEmbeddings) shapes.set('lm_head.weight', [config.vocabSize, hidden]);
  return shapes;
}

/**
 * Angles per position of the rotary embedding, one per pair of dimensions: theta^(-2i/headDim), scaled where configured.
 * llama3 by the published formula: wavelengths below originalMax / highFreqFactor stay, those above originalMax /
 * lowFreqFactor are stretched by `factor`, between them the frequency is interpolated. YaRN by equation 23 of Peng et
 * al. 2023, its bounds in pairs of dimensions as their code has them.
 */
export function ropeFrequencies(
  config: Pick<DecoderConfig, 'headDim' | 'ropeTheta' | 'ropeScaling'>,
): number[] {
  const plain = Array.from(
    { length: config.headDim / 2 },
    (_, i) => config.ropeTheta ** ((-2 * i) / config.headDim),
  );
  const scaling = config.ropeScaling;
  if (scaling === null) return plain;
  if (scaling.type === 'linear') return plain.map((frequency) => frequency / scaling.factor);
  if (scaling.type === 'longrope') return plain.map((frequency, i) => frequency / scaling.factors[i]!);
  if (scaling.type === 'yarn') {
    const bound = (turns: number, round: (x: number) => number) => {
      const pair =
        (Math.log(scaling.originalMaxPosition / (2 * Math.PI * turns)) / Math.log(config.ropeTheta)) *
        (config.headDim / 2);
      return Math.min(Math.max(scaling.truncate ? round(pair) : pair, 0), config.headDim - 1);
    };
    const [from, to] = [bound(scaling.betaFast, Math.floor), bound(scaling.betaSlow, Math.ceil)];
    return plain.map((frequency, i) => {
      const stretched = Math.min(Math.max((i - from) / (to - from || 0.001), 0), 1);
      return frequency * (1 - stretched + stretched / scaling.factor);
    });
  }
  return plain.map((frequency) => {
    /** Full turns within the original context. */
    const turns = (scaling.originalMaxPosition * frequency) / (2 * Math.PI);
    if (turns > scaling.highFreqFactor) return frequency;
    if (turns < scaling.lowFreqFactor) return frequency / scaling.factor;
    const smooth = (turns - scaling.lowFreqFactor) / (scaling.highFreqFactor - scaling.lowFreqFactor);
    return (1 - smooth) * (frequency / scaling.factor) + smooth * frequency;
  });
}

/** x / sqrt(mean(x^2) + eps) * weight, over the last axis. */
function rmsNorm(x: Tensor, weight: Tensor, eps: number): Tensor {
  return mul(div(x, sqrt(add(mean(mul(x, x), [-1], true), eps))), weight);
}

/** Rotates [..., T, headDim] by position: x cos + rotateHalf(x) sin, rotateHalf(x) = [-second half, first half]. */
function rotate(x: Tensor, config: DecoderConfig): Tensor {
  const [length, width] = x.shape.slice(-2) as [number, number];
  const frequencies = ropeFrequencies(config);
  const angles = Array.from({ length: length * width }, (_, i) => {
    const position = Math.floor(i / width);
    return position * frequencies[(i % width) % (width / 2)]!;
  });
  const { ropeScaling: scaling } = config;
  const magnitude = scaling !== null && 'attentionFactor' in scaling ? scaling.attentionFactor : 1;
  const cos = constant(
    angles.map((angle) => magnitude * Math.cos(angle)),
    [length, width],
  );
  const sin = constant(
    angles.map((angle) => magnitude * Math.sin(angle)),
    [length, width],
  );
  const halves = concat([neg(slice(x, -1, width / 2, width)), slice(x, -1, 0, width / 2)], -1);
  return add(mul(x, cos), mul(halves, sin));
}

export interface DecoderOutput {
  /** Hidden states after the final norm, [T, hiddenSize]. */
  readonly hidden: Tensor;
  /** [T, vocabSize]; row t predicts token t + 1. */
  readonly logits: Tensor;
}

export interface DecoderOptions {
  /**
   * alpha / rank of low-rank adapters (Hu et al. 2021). A projection NAME.weight has one where NAME.lora_A.weight
   * [rank, in] and NAME.lora_B.weight [out, rank] are among the parameters. Default 1.
   */
  readonly loraScale?: number;
  /** What linear layers make of their inputs [T, in] before the product, as quantised ones do. Default nothing. */
  readonly activations?: (x: Tensor) => Tensor;
}

/** The decoder on one sequence of token ids, positions counted from 0. */
export function decoder(
  config: DecoderConfig,
  parameters: Parameters,
  tokens: readonly number[],
  options: DecoderOptions = {},
): DecoderOutput {
  const shapes = weightShapes(config);
  const get = (name: string): Tensor => {
    const tensor = parameters.get(name);
    const shape = shapes.get(name);
    if (tensor === undefined) throw new RangeError(`decoder: no weight ${name}`);
    if (shape === undefined || shape.join() !== tensor.shape.join()) {
      throw new RangeError(`decoder: expected ${name} to be [${shape}], found [${tensor.shape}]`);
    }
    return tensor;
  };
  const product = (x: Tensor, weight: Tensor): Tensor => matmul(x, transpose(weight, [1, 0]));
  const read = (x: Tensor): Tensor => options.activations?.(x) ?? x;
  const linear = (x: Tensor, name: string): Tensor => {
    let y = product(read(x), get(`${name}.weight`));
    if (shapes.has(`${name}.bias`)) y = add(y, get(`${name}.bias`));
    const down = parameters.get(`${name}.lora_A.weight`);
    const up = parameters.get(`${name}.lora_B.weight`);
    if (down === undefined || up === undefined) return y;
    return add(y, mul(product(product(x, down), up), options.loraScale ?? 1));
  };

  const length = tokens.length;
  const { headDim, kvHeads, rmsNormEps } = config;
  const group = config.heads / kvHeads;
  const visible = Array.from({ length: config.heads * length * length }, (_, i) => {
    const [query, key] = [Math.floor(i / length) % length, i % length];
    return key <= query;
  });
  /** [T, heads x headDim] -> [kvHeads, heads per kv head, T, headDim]; query head h reads kv head floor(h / group). */
  const split = (x: Tensor, perKvHead: number): Tensor =>
    transpose(reshape(x, [length, kvHeads, perKvHead, headDim]), [1, 2, 0, 3]);

  const attention = (x: Tensor, prefix: string): Tensor => {
    let q = split(linear(x, `${prefix}.q_proj`), group);
    let k = split(linear(x, `${prefix}.k_proj`), 1);
    const v = split(linear(x, `${prefix}.v_proj`), 1);
    if (config.qkNorm) {
      q = rmsNorm(q, get(`${prefix}.q_norm.weight`), rmsNormEps);
      k = rmsNorm(k, get(`${prefix}.k_norm.weight`), rmsNormEps);
    }
    q = rotate(q, config);
    k = rotate(k, config);
    const scores = mul(matmul(q, transpose(k, [0, 1, 3, 2])), 1 / Math.sqrt(headDim));
    const mixed = matmul(softmax(where(visible, scores, -Infinity)), v);
    const joined = reshape(transpose(mixed, [2, 0, 1, 3]), [length, config.heads * headDim]);
    return linear(joined, `${prefix}.o_proj`);
  };

  const mlp = (x: Tensor, prefix: string): Tensor => {
    const gate = linear(x, `${prefix}.gate_proj`);
    const silu = mul(gate, sigmoid(gate));
    return linear(mul(silu, linear(x, `${prefix}.up_proj`)), `${prefix}.down_proj`);
  };

  let x = gatherRows(get('model.embed_tokens.weight'), tokens);
  for (let layer = 0; layer < config.layers; layer++) {
    const prefix = `model.layers.${layer}`;
    const attended = rmsNorm(x, get(`${prefix}.input_layernorm.weight`), rmsNormEps);
    x = add(x, attention(attended, `${prefix}.self_attn`));
    const normed = rmsNorm(x, get(`${prefix}.post_attention_layernorm.weight`), rmsNormEps);
    x = add(x, mlp(normed, `${prefix}.mlp`));
  }
  const hidden = rmsNorm(x, get('model.norm.weight'), rmsNormEps);
  const head = config.tieWordEmbeddings ? get('model.embed_tokens.weight') : get('lm_head.weight');
  return { hidden, logits: product(read(hidden), head) };
}

/**
 * Weights for tests: every value is exact in float32, norms scatter around 1 and biases are not zero, so that a part
 * left out shows. `draw` gives standard normal numbers.
 */
export function randomWeights(config: DecoderConfig, draw: () => number): Map<string, Weight> {
  return new Map(
    Array.from(weightShapes(config), ([name, shape]) => {
      const matrix = shape.length === 2;
      const scale = matrix ? 1 / Math.sqrt(name.includes('embed_tokens') ? 4 : shape[1]!) : 0.2;
      const centre = name.endsWith('norm.weight') ? 1 : 0;
      const data = Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(centre + scale * draw()));
      return [name, { shape, data }];
    }),
  );
}
