/** `adapter_config.json` of PEFT (0.21): what of it LoRA adapters here can have, and what is refused by name. */
import { z } from 'zod';
import { InputError } from '../../run/errors.js';
import { readJson } from '../../run/files.js';
import { validate } from '../../run/validate.js';
import { type Adapter, embedRow, LINEAR_KINDS, type LinearKind, type LoraShape } from '../lora.js';
import { HEAD_NAME } from '../parameters.js';

const peftSchema = z.looseObject({
  peft_type: z.string(),
  base_model_name_or_path: z.string().nullish(),
  r: z.int().positive(),
  lora_alpha: z.number().positive(),
  use_rslora: z.boolean().nullish(),
  lora_dropout: z.number().min(0).lt(1).nullish(),
  /** A list of names, or a pattern for all of a name. */
  target_modules: z.union([z.array(z.string()), z.string()]),
  trainable_token_indices: z
    .union([z.array(z.int().nonnegative()), z.record(z.string(), z.array(z.int().nonnegative()))])
    .nullish(),
});

/** Options that change what an adapter computes, with the values that mean that they do not. */
const NEUTRAL: Readonly<Record<string, readonly unknown[]>> = {
  use_dora: [false],
  bias: ['none'],
  lora_bias: [false],
  fan_in_fan_out: [false],
  modules_to_save: [],
  layers_to_transform: [],
  layers_pattern: [],
  rank_pattern: [],
  alpha_pattern: [],
  exclude_modules: [],
  target_parameters: [],
  layer_replication: [],
  use_qalora: [false],
  alora_invocation_tokens: [],
  megatron_config: [],
  use_bdlora: [false],
  kasa_config: [],
  velora_config: [],
  monteclora_config: [],
};

const isEmpty = (value: unknown): boolean =>
  value === null ||
  value === undefined ||
  (typeof value === 'object' && Object.keys(value).length === 0) ||
  value === '';

export interface PeftConfig extends LoraShape {
  /** As the file names it. */
  base: string | undefined;
  tokenId: number | undefined;
}

/** Reads `adapter_config.json`. @throws InputError for another kind of adapter, and for options that are not supported. */
export async function readPeftConfig(path: string): Promise<PeftConfig> {
  const config = validate(peftSchema, await readJson(path), path);
  if (config.peft_type !== 'LORA') {
    throw new InputError({ source: path, field: 'peft_type', expected: 'LORA', found: config.peft_type });
  }
  for (const [field, neutral] of Object.entries(NEUTRAL)) {
    const value = config[field];
    if (isEmpty(value) || neutral.includes(value)) continue;
    throw new InputError({
      source: path,
      field,
      expected: neutral.length === 0 ? 'nothing' : String(neutral[0]),
      found: JSON.stringify(value),
      remedy: 'Merge the adapter into its base with PEFT (merge_and_unload), and use that model.',
    });
  }
  const { r: rank, lora_alpha: alpha, use_rslora, lora_dropout, base_model_name_or_path: base } = config;
  return {
    ...{ rank, alpha, rsLora: use_rslora ?? false, dropout: lora_dropout ?? 0 },
    targets: targetsOf(config.target_modules, path),
    base: base ?? undefined,
    tokenId: tokenOf(config.trainable_token_indices, path),
  };
}

function targetsOf(names: string | readonly string[], source: string): LinearKind[] {
  if (names === 'all-linear') return [...LINEAR_KINDS];
  const listed = typeof names === 'string' ? [names] : names;
  const unknown = listed.find((name) => !isLinearKind(name));
  if (unknown === undefined && listed.length > 0) return LINEAR_KINDS.filter((kind) => listed.includes(kind));
  throw new InputError({
    source,
    field: 'target_modules',
    expected: `a list of ${LINEAR_KINDS.join(', ')}, or all-linear`,
    found: unknown ?? 'an empty list',
  });
}

const isLinearKind = (name: string): name is LinearKind => LINEAR_KINDS.some((kind) => kind === name);

function tokenOf(
  indices: readonly number[] | Readonly<Record<string, readonly number[]>> | null | undefined,
  source: string,
): number | undefined {
  if (indices === null || indices === undefined) return undefined;
  const ids = [...new Set(Array.isArray(indices) ? indices : Object.values(indices).flat())];
  if (ids.length <= 1) return ids[0];
  const found = ids.join(', ');
  throw new InputError({ source, field: 'trainable_token_indices', expected: 'one token', found });
}

/** The file of an adapter that was trained here. */
export const peftConfig = (
  { rank, alpha, rsLora, dropout = 0, targets, tokenId, weights }: Adapter,
  base: string,
): Record<string, unknown> => ({
  peft_type: 'LORA',
  task_type: 'CAUSAL_LM',
  base_model_name_or_path: base,
  r: rank,
  lora_alpha: alpha,
  use_rslora: rsLora,
  target_modules: [...targets],
  lora_dropout: dropout,
  bias: 'none',
  fan_in_fan_out: false,
  modules_to_save: null,
  inference_mode: true,
  trainable_token_indices:
    tokenId === undefined
      ? null
      : { embed_tokens: [tokenId], ...(weights.has(embedRow(HEAD_NAME)) && { lm_head: [tokenId] }) },
});
