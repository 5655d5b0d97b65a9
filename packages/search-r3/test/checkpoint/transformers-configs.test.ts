/** `config.json` as transformers 5.24 reads it: defaults that are left out, and every form of the rotary embedding. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ModelConfig, parseConfig } from 'search-r3/checkpoint';
import { inverseFrequencies, rotaryMagnitude } from 'search-r3/decoder';
import { randomStream } from 'search-r3/run';
import { expect, test } from 'vitest';
import { NO_PYTHON, ORACLES, pythonWith } from '../support/python.js';
import { scaled } from '../support/scale.js';

/** What `tools/oracles/configs.py` prints of one file. */
type Answer =
  | { error: string }
  | { config: Fields; rope: { frequencies: number[]; magnitude: number } | null };

interface Fields {
  vocab_size: number;
  hidden_size: number;
  intermediate_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim: number | null;
  max_position_embeddings: number;
  rms_norm_eps: number;
  tie_word_embeddings: boolean;
  attention_bias: boolean | null;
  mlp_bias: boolean | null;
  initializer_range: number;
  sliding_window: number | null;
  layer_types: string[];
  bos_token_id: number | null;
  eos_token_id: number | number[] | null;
  pad_token_id: number | null;
  rope_type: string;
  rope_theta: number;
}

type Case = Record<string, unknown> & { model_type: 'llama' | 'qwen2' | 'qwen3' };

/** The fields of transformers in the names of this package, but for those of the rotary embedding. */
function expected(architecture: ModelConfig['architecture'], fields: Fields): Partial<ModelConfig> {
  const ids = (value: number | number[] | null) => [value ?? -1].flat().filter((id) => id !== -1);
  return {
    architecture,
    vocabSize: fields.vocab_size,
    hiddenSize: fields.hidden_size,
    intermediateSize: fields.intermediate_size,
    layers: fields.num_hidden_layers,
    heads: fields.num_attention_heads,
    kvHeads: fields.num_key_value_heads,
    headDim: fields.head_dim ?? fields.hidden_size / fields.num_attention_heads,
    rmsNormEps: fields.rms_norm_eps,
    ropeTheta: fields.rope_theta,
    tieWordEmbeddings: fields.tie_word_embeddings,
    // Not of the configuration but of the class: modeling_qwen2.py, modeling_qwen3.py, modeling_llama.py.
    attentionBias: architecture === 'qwen2' || fields.attention_bias === true,
    outputBias: architecture !== 'qwen2' && fields.attention_bias === true,
    mlpBias: architecture === 'llama' && fields.mlp_bias === true,
    initializerRange: fields.initializer_range,
    bosId: ids(fields.bos_token_id)[0] ?? null,
    eosIds: ids(fields.eos_token_id),
    padId: ids(fields.pad_token_id)[0] ?? null,
  };
}

/** How many tokens are computed as transformers does: the window of a sliding layer, the context of LongRoPE. */
function longest({ model_type, ...json }: Case, fields: Fields): number {
  const rope = (json.rope_scaling ?? json.rope_parameters) as Record<string, number> | undefined;
  const original = json.original_max_position_embeddings ?? rope?.original_max_position_embeddings;
  const slides = model_type !== 'llama' && fields.layer_types.includes('sliding_attention');
  return Math.min(
    fields.max_position_embeddings,
    slides ? (fields.sliding_window ?? Number.NaN) : Number.POSITIVE_INFINITY,
    fields.rope_type === 'longrope' && original !== undefined ? Number(original) : Number.POSITIVE_INFINITY,
  );
}

function check(json: Case, answer: Answer): void {
  const label = JSON.stringify(json);
  if ('error' in answer) {
    expect(() => parseConfig(json), label).toThrow(expect.objectContaining({ name: 'InputError' }));
    return;
  }
  const config = parseConfig(json);
  expect(config, label).toMatchObject(expected(json.model_type, answer.config));
  expect(config.maxPositions, label).toBe(longest(json, answer.config));
  const { rope } = answer;
  if (rope === null) {
    expect(config.ropeScaling, label).toBeNull();
    return;
  }
  // Float32 there, float64 here.
  const found = inverseFrequencies(config);
  expect(found, label).toHaveLength(rope.frequencies.length);
  for (const [i, frequency] of found.entries()) {
    expect(Math.abs(frequency / (rope.frequencies[i] as number) - 1), `${label} ${i}`).toBeLessThan(3e-6);
  }
  expect(rotaryMagnitude(config), label).toBeCloseTo(rope.magnitude, 12);
}

// In this folder: python ../../../../tools/oracles/configs.py < fixtures/config-cases.jsonl > fixtures/config-answers.jsonl
const recorded = <T>(name: string): T[] =>
  readFileSync(join(import.meta.dirname, 'fixtures', name), 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as T);
const CASES = recorded<Case>('config-cases.jsonl');
const ANSWERS = recorded<Answer>('config-answers.jsonl');

test('recorded: every case is read as transformers reads it', () => {
  expect(ANSWERS).toHaveLength(CASES.length);
  for (const [i, json] of CASES.entries()) check(json, ANSWERS[i] as Answer);
  expect(ANSWERS.filter((answer) => 'error' in answer)).toHaveLength(12);
});

function randomCase(seed: number): Case {
  const random = randomStream(seed, 'config');
  const maybe = (probability: number, fields: () => Record<string, unknown>) =>
    random.uniform() < probability ? fields() : {};
  const pick = <T>(...values: [T, ...T[]]): T => values[random.integer(values.length)] as T;
  const between = (low: number, high: number) => low + random.uniform() * (high - low);
  const heads = pick(2, 4, 6);
  const headDim = 2 * (2 + random.integer(7));
  const layers = 1 + random.integer(4);
  const type = pick('default', 'linear', 'dynamic', 'llama3', 'yarn', 'longrope');
  const low = between(0.5, 3);
  const theta = maybe(0.5, () => ({ rope_theta: between(100, 1e6) }));
  const rope = {
    [pick('rope_type', 'type')]: type,
    factor: between(1, 16),
    ...(type === 'llama3' && { low_freq_factor: low, high_freq_factor: low + between(0.5, 4) }),
    ...(type === 'yarn' && {
      ...maybe(0.3, () => ({ beta_fast: between(8, 40), beta_slow: between(0.5, 4) })),
      ...maybe(0.3, () => ({ mscale: between(0.5, 1), mscale_all_dim: between(0.5, 1) })),
      ...maybe(0.3, () => ({ truncate: pick(true, false) })),
      ...maybe(0.3, () => ({ attention_factor: between(0.8, 1.5) })),
    }),
    ...(type === 'longrope' && {
      short_factor: Array.from({ length: headDim / 2 }, () => between(1, 4)),
      long_factor: Array.from({ length: headDim / 2 }, () => between(1, 9)),
    }),
    ...maybe(0.6, () => ({ original_max_position_embeddings: 64 + random.integer(1000) })),
  };
  return {
    model_type: pick('llama', 'qwen2', 'qwen3'),
    hidden_size: heads * headDim,
    num_attention_heads: heads,
    num_key_value_heads: pick(1, 2, null),
    head_dim: headDim,
    ...maybe(0.7, () => ({ num_hidden_layers: layers })),
    ...maybe(0.5, () => ({ vocab_size: 10 + random.integer(1000) })),
    ...maybe(0.5, () => ({ intermediate_size: 10 + random.integer(100) })),
    ...maybe(0.5, () => ({ max_position_embeddings: 1064 + random.integer(1000) })),
    ...maybe(0.5, () => ({ rms_norm_eps: between(1e-7, 1e-4) })),
    ...maybe(0.5, () => ({ tie_word_embeddings: pick(true, false) })),
    ...maybe(0.3, () => ({ attention_bias: pick(true, false), mlp_bias: pick(true, false) })),
    ...maybe(0.3, () => ({
      eos_token_id: pick<unknown>(null, 3, [1, 2], -1),
      pad_token_id: pick(null, -1, 2),
    })),
    ...maybe(0.4, () => ({
      use_sliding_window: pick(true, false),
      ...maybe(0.6, () => ({ sliding_window: pick(null, 50, 900, 1e5) })),
      ...maybe(0.6, () => ({ max_window_layers: random.integer(5) })),
    })),
    ...maybe(0.2, () => ({ original_max_position_embeddings: 64 + random.integer(500) })),
    ...pick<() => Record<string, unknown>>(
      () => ({ ...theta }),
      () => ({ ...theta, rope_scaling: rope }),
      () => ({ ...theta, rope_parameters: rope }),
      () => ({ rope_parameters: { ...rope, ...theta } }),
      () => ({ ...theta, rope_scaling: rope, rope_parameters: { rope_type: 'default', rope_theta: 77 } }),
    )(),
  };
}

const python = pythonWith('transformers', 'numpy');

test.skipIf(python === undefined)(
  `live: random files are read as transformers reads them (${NO_PYTHON})`,
  () => {
    const drawn = Array.from({ length: scaled(200, 5000) }, (_, seed) => randomCase(seed));
    const cases = [...CASES, ...drawn];
    const { status, stdout, stderr } = spawnSync(python as string, [join(ORACLES, 'configs.py')], {
      input: cases.map((json) => `${JSON.stringify(json)}\n`).join(''),
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    expect(status, stderr).toBe(0);
    const answers = stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Answer);
    expect(answers.slice(0, CASES.length)).toEqual(ANSWERS);
    expect(answers).toHaveLength(cases.length);
    for (const [i, json] of cases.entries()) check(json, answers[i] as Answer);
  },
);
