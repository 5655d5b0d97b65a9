/**
 * What makes a checkpoint a retriever: `search_r3.json` beside its weights, with its prompts and the lengths it was
 * trained with. The prompts belong to the model, since one trained with some prompts embeds worse with others; an index
 * remembers their fingerprint. The lengths are defaults only, and not part of it.
 *
 * The forms are those of Search-R3 (arXiv 2510.07048): a system instruction, the text as the user's turn, and an
 * assistant's turn that ends with the embed token, either at once ("The embedding is" and the token) or after reasoning.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { readJson, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';
import { TEMPLATE_GIVEN } from '../tokenizer/index.js';

/** The token at which the final hidden state is the embedding. */
export const EMBED_TOKEN = '<|embed_token|>';

export const PROMPTS_FILE = 'search_r3.json';

const direct = (system: string) =>
  z
    .strictObject({
      /** The instruction. */
      system: z.string().default(system),
      /** The assistant's turn before the embed token. */
      assistant: z.string().default('The embedding is'),
    })
    .prefault({});

/** The default instruction to reason. */
const REASONING =
  'Enrich the search query of the user before it is represented: state its core concepts, give the key terms with ' +
  `their definitions, add synonyms and related topics. You MUST end your answer with ${EMBED_TOKEN}.`;

const promptsObject = z.strictObject({
  version: z.literal(1).default(1),
  embedToken: z.string().min(2).default(EMBED_TOKEN),
  query: direct(
    'Represent the search query of the user, so that the documents which answer it are found by it.',
  ),
  document: direct('Represent the document of the user, so that the queries which it answers find it.'),
  reasoning: z
    .strictObject({
      system: z.string().default(REASONING),
    })
    .prefault({}),
  /** What the chat template is told beside the messages, such as `{ enable_thinking: false }` for Qwen3. */
  templateVariables: z
    .record(z.string(), z.union([z.boolean(), z.number(), z.string()]))
    .refine(
      (variables) => !TEMPLATE_GIVEN.some((name) => name in variables),
      `none of ${TEMPLATE_GIVEN.join(', ')}, which every template is given`,
    )
    // In one order, whatever order they were written in: the fingerprint follows it.
    .overwrite((variables) => Object.fromEntries(Object.entries(variables).sort()))
    .optional(),
});

/** Prompts as a user writes them; what is left out is filled in. */
export const promptsSchema = promptsObject.overwrite((prompts) => {
  if (prompts.reasoning.system !== REASONING) return prompts;
  // The default asks for the token that there is.
  return { ...prompts, reasoning: { system: REASONING.replaceAll(EMBED_TOKEN, prompts.embedToken) } };
});

export type Prompts = z.output<typeof promptsSchema>;

/** Any part of the prompts; the rest is filled in from the defaults. */
export type PromptOverrides = z.input<typeof promptsSchema>;

/** The default prompts, with some parts replaced. @throws InputError on unknown parts. */
export function resolvePrompts(overrides: PromptOverrides = {}, source = 'prompts'): Prompts {
  return validate(promptsSchema, overrides, source);
}

/** Lengths a model was trained with, in tokens: the defaults of everything that embeds with it. */
export const limitsSchema = z.strictObject({
  /** Longest prompt; the reasoning comes on top. */
  maxLength: z.int().positive().optional(),
  /** Longest reasoning, the embed token included. */
  maxNewTokens: z.int().positive().optional(),
});

export type LengthLimits = z.output<typeof limitsSchema>;

/** The lengths of a model that remembers none. */
export const DEFAULT_LIMITS = { maxLength: 512, maxNewTokens: 44 } as const satisfies LengthLimits;

/** How the training queries of a collection were shared out: with the same three they are again. */
export const querySplitSchema = z.strictObject({
  seed: z.int(),
  /** Share held out from both stages, where the collection has no split `dev`. */
  validation: z.number().min(0).max(1),
  /** Share of stage 1 where both stages draw on one split. */
  sft: z.number().min(0).max(1),
});

export type QuerySplit = z.output<typeof querySplitSchema>;

// Folders from before lengths and split were kept have none.
const fileSchema = promptsSchema.safeExtend({
  limits: limitsSchema.optional(),
  split: querySplitSchema.optional(),
});

/** What `search_r3.json` remembers beside the prompts. */
export interface TrainedWith {
  limits?: LengthLimits | undefined;
  split?: QuerySplit | undefined;
}

export interface RetrieverFile extends TrainedWith {
  prompts: Prompts;
}

/** Reads `search_r3.json` of a folder. @throws InputError naming the field where something in it is wrong. */
export async function loadPrompts(folder: string): Promise<RetrieverFile> {
  const path = join(folder, PROMPTS_FILE);
  const { limits, split, ...prompts } = validate(fileSchema, await readJson(path), path);
  return { prompts, ...(limits && { limits }), ...(split && { split }) };
}

export function savePrompts(folder: string, { prompts, limits, split }: RetrieverFile): Promise<void> {
  const content = { ...prompts, ...(limits && { limits }), ...(split && { split }) };
  return writeJsonAtomic(join(folder, PROMPTS_FILE), content);
}

/** SHA-256, in hex: equal for equal prompts, in whatever order their parts stand. */
export function promptsFingerprint(prompts: Prompts): string {
  // The schema gives the parts back in its own order.
  return createHash('sha256')
    .update(JSON.stringify(resolvePrompts(prompts)))
    .digest('hex');
}
