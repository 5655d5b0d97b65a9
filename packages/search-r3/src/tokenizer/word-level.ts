/** Word-level vocabularies: one id per word. Short sequences, for closed worlds; words never seen become <unk>. */
import { z } from 'zod';
import { validate } from '../run/validate.js';
import { compileChatTemplate } from './chat-template.js';
import type { Tokenizer } from './tokenizer.js';
import { assemble, refuseSmall, trainingShape, WordCounter } from './training.js';

const optionsSchema = z.strictObject({
  ...trainingShape,
  /** Lower-case all text. Default false. */
  lowercase: z.boolean().default(false),
  /** Stands for words outside the vocabulary. Default <unk>. */
  unkToken: z.string().min(1).default('<unk>'),
});

export type WordLevelOptions = z.input<typeof optionsSchema>;

/**
 * Makes a tokenizer from the most frequent words; ties go by code unit order. Words are separated by white space, and
 * each punctuation mark is a word; decoding puts spaces between them. The words that the chat template writes (role
 * names) are always included.
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

/** Conversations without content, as the template renders them. */
function skeletons(chatTemplate: string, source: string): string[] {
  const template = compileChatTemplate(chatTemplate, `${source}: chatTemplate`, {});
  const roles = ['system', 'user', 'assistant'] as const;
  const messages = roles.map((role) => ({ role, content: '' }));
  return [
    template.render(messages, {}),
    template.render(messages.slice(0, 2), { addGenerationPrompt: true }),
  ];
}
