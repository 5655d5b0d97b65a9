/**
 * The prompts that a model reads texts in. They belong to the model, which embeds worse with others, so an index records
 * their fingerprint.
 *
 * A prompt is either a conversation in the model's chat template or plain text around the text to embed. Prompts for
 * training have the form of Search-R3 (arXiv 2510.07048): an instruction, the text as the user's turn, and an
 * assistant's turn that ends with the embed token, either at once ("The embedding is" and the token) or after
 * reasoning. The instruction is the system message, or part of the user's turn if the chat template has no system role.
 */
import { z } from 'zod';
import { validate } from '../run/validate.js';
import { TEMPLATE_GIVEN } from '../tokenizer/files.js';

/** The token at which the final hidden state is the embedding. */
export const EMBED_TOKEN = '<|embed_token|>';

/** Stands for the text in a plain prompt. */
const PLACE = '{text}';

const chatPrompt = z.strictObject({
  /** The instruction. */
  system: z.string(),
  /** The assistant's turn before the place where the embedding is read. */
  assistant: z.string(),
});

const once = (text: string) => text.split(PLACE).length === 2;

const textPrompt = z.strictObject({
  /** Read as it is, without the chat template; `{text}` stands for the text, and special tokens may be spelled out. */
  text: z.string().refine(once, `expected text in which ${PLACE} occurs once`),
  /** Let the tokenizer put special tokens around the prompt, as its post-processor says. Default false. */
  specialTokens: z.boolean().optional(),
});

/** Where the embedding is read: at the embed token after the prompt, or at the last token of the prompt itself. */
export const POOLINGS = ['embed-token', 'last-token'] as const;

export type Pooling = (typeof POOLINGS)[number];

const templateVariables = z
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
  });

const embedToken = z.string().min(2).default(EMBED_TOKEN).meta({
  description: 'The token at which the embedding is read.',
  when: 'Only for a model trained elsewhere with another token.',
});

/** By its place in the vocabulary, where "the" after a space may be written "Ġthe". */
const embedTokenInit = z.string().min(1).optional().meta({
  description:
    'A token of the vocabulary whose embedding an embed token that is added starts with. With `:` and `assistant: The topics of this text` the model embeds from the start as it would after "The topics of this text:".',
  when: 'Set it for a base model: `search-r3 tune-prompt` finds a good one.',
  ifUnset: 'the mean of all embeddings',
});

const roles = { query: z.union([chatPrompt, textPrompt]), document: z.union([chatPrompt, textPrompt]) };

/** Prompts of a model that embeds at the last token of its prompt. */
export const lastTokenPrompts = z.strictObject({ ...roles, templateVariables });

/** Prompts of a model that embeds at its embed token. */
export const embedTokenPrompts = z.strictObject({
  embedToken,
  embedTokenInit,
  ...roles,
  /** After this prompt the model reasons, up to the embed token. */
  reasoning: z.union([chatPrompt.pick({ system: true }), textPrompt]).optional(),
  templateVariables,
});

export type ChatPrompt = z.output<typeof chatPrompt>;
export type TextPrompt = z.output<typeof textPrompt>;

/** The prompts of a model. */
export interface Prompts {
  /** The token that follows each prompt. Undefined: the embedding is read at the last token of the prompt. */
  embedToken?: string | undefined;
  /** The token of the vocabulary with whose embedding it starts. Undefined: with the mean of all. */
  embedTokenInit?: string | undefined;
  query: ChatPrompt | TextPrompt;
  document: ChatPrompt | TextPrompt;
  /** Undefined if the model cannot reason before it embeds. Needs an embed token. */
  reasoning?: Pick<ChatPrompt, 'system'> | TextPrompt | undefined;
  templateVariables?: Record<string, boolean | number | string> | undefined;
}

export const poolingOf = (prompts: Prompts): Pooling =>
  prompts.embedToken === undefined ? 'last-token' : 'embed-token';

/** The parts of a plain prompt before and after the text. */
export function aroundText({ text }: TextPrompt): [before: string, after: string] {
  const at = text.indexOf(PLACE);
  return [text.slice(0, at), text.slice(at + PLACE.length)];
}

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
  embedToken,
  embedTokenInit,
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
  templateVariables,
});

/** Prompts for training as a user writes them; defaults fill in the rest. */
export const promptsSchema = promptsObject.overwrite((prompts) => {
  if (prompts.reasoning.system !== REASONING) return prompts;
  // The default instruction names the embed token.
  return { ...prompts, reasoning: { system: REASONING.replaceAll(EMBED_TOKEN, prompts.embedToken) } };
});

/** Prompts for training: conversations that end with the embed token, one of them after reasoning. */
export type TrainingPrompts = z.output<typeof promptsSchema>;

/** Whether a model with these prompts can be trained. */
export function isTrainable(prompts: Prompts): prompts is TrainingPrompts {
  const { embedToken, query, document, reasoning } = prompts;
  const chats = [query, document, reasoning].every((prompt) => prompt !== undefined && 'system' in prompt);
  return embedToken !== undefined && chats;
}

/** Any part of the prompts for training; defaults fill in the rest. */
export type PromptOverrides = z.input<typeof promptsSchema>;

/** The default prompts, with some parts replaced. @throws InputError on unknown parts. */
export function resolvePrompts(overrides: PromptOverrides = {}, source = 'prompts'): TrainingPrompts {
  return validate(promptsSchema, overrides, source);
}
