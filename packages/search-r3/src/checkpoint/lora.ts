/**
 * LoRA adapters (Hu et al. 2021, arXiv 2106.09685): a pair of small matrices for linear layers of a frozen base, and
 * perhaps a row of its token tables. `peft/` reads and writes them as PEFT does.
 */
import type { Weights } from './parameters.js';

/** The linear layers of a decoder layer that can have an adapter. */
export const LINEAR_KINDS = [
  'q_proj',
  'k_proj',
  'v_proj',
  'o_proj',
  'gate_proj',
  'up_proj',
  'down_proj',
] as const;
export type LinearKind = (typeof LINEAR_KINDS)[number];

export interface LoraShape {
  /** Inner size of the pairs. */
  rank: number;
  /** The product of a pair counts alpha / rank times, or with rsLoRA alpha / sqrt(rank) times. */
  alpha: number;
  /** Rank-stabilised scale (Kalajdzievski 2023, arXiv 2312.03732). */
  rsLora: boolean;
  /** In training, the share of what the pairs read that is left out at random. Default 0. */
  dropout?: number | undefined;
  /** Which linear layers have a pair, in every decoder layer. */
  targets: readonly LinearKind[];
}

export interface Adapter extends LoraShape {
  /**
   * By name: `NAME.lora_A.weight` [rank, inputs] and `NAME.lora_B.weight` [outputs, rank] for linear layers such as
   * `model.layers.0.self_attn.q_proj`, and with `tokenId` the rows `TABLE[embed]` [1, hidden] of the token tables.
   */
  weights: Weights;
  /** The token whose rows the adapter has; undefined for none. */
  tokenId: number | undefined;
}

/** What the product of a pair counts. */
export const loraScale = ({ rank, alpha, rsLora }: Pick<LoraShape, 'rank' | 'alpha' | 'rsLora'>): number =>
  alpha / (rsLora ? Math.sqrt(rank) : rank);

/** The name of the trained token's row of a token table. */
export const embedRow = (table: string): string => `${table}[embed]`;

export const loraA = (linear: string): string => `${linear}.lora_A.weight`;
export const loraB = (linear: string): string => `${linear}.lora_B.weight`;
