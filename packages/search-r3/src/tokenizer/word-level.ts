/** Word-level vocabularies, with one id per word. They give short sequences; words outside them become <unk>. */
import { z } from 'zod';
import { validate } from '../run/validate.js';
import { compileChatTemplate } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';
import { assemble, refuseSmall, trainingShape, WordCounter } from './training.js';

const optionsSchema = z.strictObject({
  ...trainingShape,
  /** Lower-case all text. Default false. */
  lowercase: z.boolean().default(false),
  /** Replaces words outside the vocabulary. Default <unk>. */
  unkToken: z.string().min(1).default('<unk>'),
});

export type WordLevelOptions = z.input<typeof optionsSchema>;

/**
 * Creates a tokenizer from the most frequent words; code unit order breaks ties. White space separates words, and each
 * punctuation mark is a word. Decoding puts a space between words. The words in the chat template itself (role names)
 * are always included.
 */
export function trainWordLevel(texts: Iterable<string>, options: WordLevelOptions): Tokenizer {
  const source = 'trainWordLevel options';
  const checked = validate(optionsSchema, options, source);
  const { vocabSize, specialTokens, lowercase, unkToken } = checked;
  const pipeline = {
    normalizer: lowercase ? { type: 'Lowercase' } : null,
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: null,
    decoder: null,
  };
  const countWords = (from: Iterable<string>): Map<string, number> => {
    const counter = new WordCounter(pipeline, specialTokens);
    for (const text of from) counter.add(text);
    return counter.counts();
  };
  const counts = countWords(texts);
  counts.delete(unkToken);
  const required = countWords(skeletons(checked.chatTemplate, source));
  const fixed = 1 + specialTokens.length;
  refuseSmall(vocabSize, fixed + required.size, "special tokens and the chat template's own words", source);

  const learned = [...counts]
    .filter(([word]) => !required.has(word))
    .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    .map(([word]) => word);
  const words = [unkToken, ...required.keys(), ...learned].slice(0, vocabSize - specialTokens.length);
  const vocab = Object.fromEntries(words.map((word, id) => [word, id]));
  const model = { type: 'WordLevel', vocab, unk_token: unkToken };
  return assemble(model, pipeline, checked, source, unkToken);
}

/** Conversations without content, rendered with the template. */
function skeletons(chatTemplate: string, source: string): string[] {
  const template = compileChatTemplate(chatTemplate, `${source}: chatTemplate`, {});
  const roles = ['system', 'user', 'assistant'] as const;
  const messages = roles.map((role) => ({ role, content: '' }));
  return [
    template.render(messages, {}),
    template.render(messages.slice(0, 2), { addGenerationPrompt: true }),
  ];
}
