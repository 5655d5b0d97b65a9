/**
 * The prompts of a checkpoint: `search_r3.json` beside its weights. They belong to the model, since one trained with
 * some prompts embeds worse with others; an index remembers their fingerprint.
 *
 * The forms are those of Search-R3 (arXiv 2510.07048): a system instruction, the text as the user's turn, and an
 * assistant's turn that ends with the embed token, either at once ("The embedding is" and the token) or after reasoning.
 */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import { readJson, writeJsonAtomic } from '../run/files.js';
import { validate } from '../run/validate.js';

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

/** Prompts as a user writes them; what is left out is filled in. */
export const promptsSchema = z.strictObject({
  version: z.literal(1).default(1),
  embedToken: z.string().min(2).default(EMBED_TOKEN),
  query: direct(
    'Represent the search query of the user, so that the documents which answer it are found by it.',
  ),
  document: direct('Represent the document of the user, so that the queries which it answers find it.'),
  reasoning: z
    .strictObject({
      system: z
        .string()
        .default(
          'Enrich the search query of the user before it is represented: state its core concepts, give the key terms ' +
            `with their definitions, add synonyms and related topics. You MUST end your answer with ${EMBED_TOKEN}.`,
        ),
    })
    .prefault({}),
});

export type Prompts = z.output<typeof promptsSchema>;

/** Any part of the prompts; the rest is filled in from the defaults. */
export type PromptOverrides = z.input<typeof promptsSchema>;

/** The default prompts, with some parts replaced. @throws InputError on unknown parts. */
export function resolvePrompts(overrides: PromptOverrides = {}, source = 'prompts'): Prompts {
  return validate(promptsSchema, overrides, source);
}

export async function loadPrompts(folder: string): Promise<Prompts> {
  const path = join(folder, PROMPTS_FILE);
  return validate(promptsSchema, await readJson(path), path);
}

export function savePrompts(folder: string, prompts: Prompts): Promise<void> {
  return writeJsonAtomic(join(folder, PROMPTS_FILE), prompts);
}

/** SHA-256, in hex: equal for equal prompts, in whatever order their parts stand. */
export function promptsFingerprint(prompts: Prompts): string {
  // The schema gives the parts back in its own order.
  return createHash('sha256')
    .update(JSON.stringify(resolvePrompts(prompts)))
    .digest('hex');
}
