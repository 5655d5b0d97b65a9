/**
 * `search_r3.json`, which makes a checkpoint a retriever: its prompts and the lengths it was trained with. The prompts
 * belong to the model, which embeds worse with others, so an index records their fingerprint. The lengths are only
 * defaults and do not change the fingerprint.
 *
 * Prompts have the form of Search-R3 (arXiv 2510.07048): an instruction, the text as the user's turn, and an
 * assistant's turn that ends with the embed token, either at once ("The embedding is" and the token) or after
 * reasoning. The instruction is the system message, or part of the user's turn if the chat template has no system role.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { readJson, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';
import { TEMPLATE_GIVEN } from '../tokenizer/files.js';

/** The token at which the final hidden state is the embedding. */
export const EMBED_TOKEN = '<|embed_token|>';

export const PROMPTS_FILE = 'search_r3.json';

const direct = (text: 'query' | 'document', system: string) =>
  z
    .strictObject({
      system: z
        .string()
        .default(system)
        .meta({
          description: `Instruction before a ${text}.`,
          when: 'Set it to say what your documents are.',
        }),
      assistant: z.string().default('The embedding is').meta({
        description: 'Text before the embed token.',
        when: 'Rarely.',
      }),
    })
    .prefault({});

/** The default instruction to reason. */
const REASONING =
  'Enrich the search query of the user before it is represented: state its core concepts, give the key terms with ' +
  `their definitions, add synonyms and related topics. You MUST end your answer with ${EMBED_TOKEN}.`;

const promptsObject = z.strictObject({
  version: z.literal(1).default(1).meta({
    description: 'Version of the prompt format.',
    when: 'Never.',
  }),
  embedToken: z.string().min(2).default(EMBED_TOKEN).meta({
    description: 'The token at which the embedding is read.',
    when: 'Only for a model trained elsewhere with another token.',
  }),
  query: direct(
    'query',
    'Represent the search query of the user, so that the documents which answer it are found by it.',
  ),
  document: direct(
    'document',
    'Represent the document of the user, so that the queries which it answers find it.',
  ),
  reasoning: z
    .strictObject({
      system: z.string().default(REASONING).meta({
        description: 'Instruction to reason. It must say that the reasoning ends with the embed token.',
        when: 'Set it to say what helps to find your documents: synonyms, units, names.',
      }),
    })
    .prefault({}),
  templateVariables: z
    .record(z.string(), z.union([z.boolean(), z.number(), z.string()]))
    .refine(
      (variables) => !TEMPLATE_GIVEN.some((name) => name in variables),
      `none of ${TEMPLATE_GIVEN.join(', ')}, which every template is given`,
    )
    // Sorted, so that the fingerprint does not depend on the order in which they were written.
    .overwrite((variables) => Object.fromEntries(Object.entries(variables).sort()))
    .optional()
    .meta({
      description: 'Variables for the chat template besides the messages, by name.',
      when: 'Set them for a template with switches: with `enable_thinking: false`, the reasoning of Qwen3 starts at once.',
    }),
});

/** Prompts as a user writes them; defaults fill in the rest. */
export const promptsSchema = promptsObject.overwrite((prompts) => {
  if (prompts.reasoning.system !== REASONING) return prompts;
  // The default instruction names the embed token.
  return { ...prompts, reasoning: { system: REASONING.replaceAll(EMBED_TOKEN, prompts.embedToken) } };
});

export type Prompts = z.output<typeof promptsSchema>;

/** Any part of the prompts; defaults fill in the rest. */
export type PromptOverrides = z.input<typeof promptsSchema>;

/** The default prompts, with some parts replaced. @throws InputError on unknown parts. */
export function resolvePrompts(overrides: PromptOverrides = {}, source = 'prompts'): Prompts {
  return validate(promptsSchema, overrides, source);
}

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

// Older folders have neither lengths nor a split.
const fileSchema = promptsSchema.safeExtend({
  limits: limitsSchema.optional(),
  split: querySplitSchema.optional(),
});

/** What `search_r3.json` records besides the prompts. */
export interface TrainedWith {
  limits?: LengthLimits | undefined;
  split?: QuerySplit | undefined;
}

export interface RetrieverFile extends TrainedWith {
  prompts: Prompts;
}

/** Reads `search_r3.json` of a folder. @throws InputError naming the field that is invalid. */
export async function loadPrompts(folder: string): Promise<RetrieverFile> {
  const path = join(folder, PROMPTS_FILE);
  const { limits, split, ...prompts } = validate(fileSchema, await readJson(path), path);
  return { prompts, ...(limits && { limits }), ...(split && { split }) };
}

export function savePrompts(folder: string, { prompts, limits, split }: RetrieverFile): Promise<void> {
  const content = { ...prompts, ...(limits && { limits }), ...(split && { split }) };
  return writeJsonAtomic(join(folder, PROMPTS_FILE), content);
}

/** SHA-256 in hex, which does not depend on the order of the parts. */
export function promptsFingerprint(prompts: Prompts): string {
  // The schema sorts the parts.
  return createHash('sha256')
    .update(JSON.stringify(resolvePrompts(prompts)))
    .digest('hex');
}
