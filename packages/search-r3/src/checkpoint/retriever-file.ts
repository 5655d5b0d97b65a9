/**
 * `search_r3.json`, which makes a checkpoint a retriever: its prompts, where the embedding is read and how long it is,
 * and what the model was trained with. Version 2 is written; version 1, which knew only conversations that end with the
 * embed token, is read.
 */
import { join } from 'node:path';
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { readJson, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';
import {
  embedTokenPrompts,
  lastTokenPrompts,
  POOLINGS,
  type Prompts,
  poolingOf,
  promptsSchema,
} from './prompts.js';

export const PROMPTS_FILE = 'search_r3.json';

/** Lengths in tokens that a model was trained with: the defaults for embedding with it. */
export const limitsSchema = z.strictObject({
  /** Longest prompt, not counting the reasoning. */
  maxLength: z.int().positive().optional(),
  /** Longest reasoning, including the embed token. */
  maxNewTokens: z.int().positive().optional(),
});

export type LengthLimits = z.output<typeof limitsSchema>;

/** The lengths of a model that does not record any. */
export const DEFAULT_LIMITS = { maxLength: 512, maxNewTokens: 44 } as const satisfies LengthLimits;

/** How the training queries of a collection were split. The same three values give the same split. */
export const querySplitSchema = z.strictObject({
  seed: z.int(),
  /** Share held out from both stages if the collection has no split `dev`. */
  validation: z.number().min(0).max(1),
  /** Share of stage 1 if both stages use the same split. */
  sft: z.number().min(0).max(1),
});

export type QuerySplit = z.output<typeof querySplitSchema>;

/** How a model embeds. */
export interface EmbeddingFormat {
  /** The preset that the prompts come from, if they do. */
  preset?: string | undefined;
  prompts: Prompts;
  /** The vector is cut to its first so many numbers and scaled to length 1 again. Default: the hidden size. */
  dimensions?: number | undefined;
}

/** What `search_r3.json` records besides. */
export interface TrainedWith {
  limits?: LengthLimits | undefined;
  split?: QuerySplit | undefined;
  /**
   * Lengths at which its vectors, cut and scaled to length 1 again, were trained to be good too (Kusupati et al. 2022,
   * arXiv 2205.13147). Default none: a request may ask for any length.
   */
  matryoshka?: readonly number[] | undefined;
}

export interface RetrieverFile extends EmbeddingFormat, TrainedWith {}

const trainedWith = { limits: limitsSchema.optional(), split: querySplitSchema.optional() };

function formatSchema<T extends z.ZodRawShape>(more: T) {
  const shared = {
    preset: z.string().min(1).optional(),
    dimensions: z.int().positive().optional(),
    ...more,
  };
  return z.discriminatedUnion(
    'pooling',
    [
      z.strictObject({ pooling: z.literal('embed-token'), prompts: embedTokenPrompts, ...shared }),
      z.strictObject({ pooling: z.literal('last-token'), prompts: lastTokenPrompts, ...shared }),
    ],
    { error: ({ code }) => (code === 'invalid_union' ? `expected ${POOLINGS.join(' or ')}` : undefined) },
  );
}

/** The fields of a file with prompts, which have the same names in `search_r3.json`. */
export const embeddingFormatSchema = formatSchema({});

/** Prompts, pooling and dimensions as a user writes them. */
export type EmbeddingFormatInput = z.input<typeof embeddingFormatSchema>;

/** @throws InputError naming the field that is invalid. */
export function parseFormat(value: unknown, source: string): EmbeddingFormat {
  const { pooling: _, ...format } = validate(embeddingFormatSchema, value, source);
  return format;
}

const version2 = formatSchema({
  version: z.literal(2),
  ...trainedWith,
  matryoshka: z.array(z.int().positive()).optional(),
});

/** Older files have no version, lengths or split. */
const version1 = promptsSchema.safeExtend({ version: z.literal(1).default(1), ...trainedWith });

const headSchema = z.looseObject({ version: z.unknown().optional() });

/** Reads `search_r3.json` of a folder. @throws InputError naming the field that is invalid. */
export async function loadRetrieverFile(folder: string): Promise<RetrieverFile> {
  const path = join(folder, PROMPTS_FILE);
  const content = await readJson(path);
  const { version = 1 } = validate(headSchema, content, path);
  switch (version) {
    case 1: {
      const { version: _, limits, split, ...prompts } = validate(version1, content, path);
      return { prompts, ...(limits && { limits }), ...(split && { split }) };
    }
    case 2: {
      const { version: _, pooling: __, ...file } = validate(version2, content, path);
      return file;
    }
    default:
      throw new InputError({
        source: path,
        field: 'version',
        expected: '1 or 2',
        found: JSON.stringify(version),
        remedy: 'It was written by another version of search-r3.',
      });
  }
}

export function saveRetrieverFile(folder: string, file: RetrieverFile): Promise<void> {
  const { preset, prompts, dimensions, matryoshka, limits, split } = file;
  // JSON leaves out what is undefined.
  const content = {
    version: 2,
    preset,
    prompts,
    pooling: poolingOf(prompts),
    dimensions,
    ...(matryoshka && matryoshka.length > 0 && { matryoshka }),
    limits,
    split,
  };
  return writeJsonAtomic(join(folder, PROMPTS_FILE), content);
}
