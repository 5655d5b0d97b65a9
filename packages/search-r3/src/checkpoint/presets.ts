/** Ready-made ways to embed, for models that do not record one. docs/decisions/015-prompt-presets.md says why these. */
import { InputError } from '../run/errors.js';
import { type Prompts, resolvePrompts } from './prompts.js';
import type { EmbeddingFormat } from './retriever-file.js';

/** Whatever the text is: a base says best what a text is about where the next words would say so. */
const TOPICS = {
  text: 'Text: {text}\nThe main topics of this text, as keywords:',
  // The begin of a text, in models that were trained with one.
  specialTokens: true,
};

export interface Preset {
  /** What it is for, as a part of a sentence. */
  use: string;
  prompts: Prompts;
}

/** The presets by name. */
export const PRESETS = {
  /** Prompts after arXiv 2510.07048. */
  'search-r3': {
    use: 'for models trained as Search-R3, which embed at <|embed_token|>, at once or after reasoning',
    prompts: resolvePrompts(),
  },
  /** `config_sentence_transformers.json`, `1_Pooling` and the model card of Qwen/Qwen3-Embedding-0.6B. */
  'qwen3-embedding': {
    use: 'for Qwen3-Embedding: queries with the instruction of web search, documents as they are',
    prompts: {
      query: {
        text: 'Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:{text}<|endoftext|>',
      },
      document: { text: '{text}<|endoftext|>' },
    },
  },
  topics: {
    use: 'for any other base: plain text that the model would continue with keywords',
    prompts: { query: TOPICS, document: TOPICS },
  },
} as const satisfies Record<string, Preset>;

export type PresetName = keyof typeof PRESETS;

export const isPreset = (name: string): name is PresetName => Object.hasOwn(PRESETS, name);

export const presetFormat = (preset: PresetName): EmbeddingFormat => ({
  preset,
  prompts: PRESETS[preset].prompts,
});

/**
 * The prompt after which the model reasons.
 * @param source names the model in the error.
 * @throws InputError if there is none, saying which presets have one.
 */
export function requireReasoning(
  { prompts, preset }: EmbeddingFormat,
  source = 'model',
): NonNullable<Prompts['reasoning']> {
  if (prompts.reasoning !== undefined) return prompts.reasoning;
  const having = Object.entries<Preset>(PRESETS).flatMap(([name, one]) =>
    one.prompts.reasoning === undefined ? [] : [name],
  );
  throw new InputError({
    source,
    field: 'prompts.reasoning',
    expected: 'a prompt for reasoning',
    found: preset === undefined ? 'none' : `none in the preset ${preset}`,
    remedy: `Embed without reasoning, or train the model to reason (search-r3 sft). The preset ${having.join(', ')} has one.`,
  });
}
