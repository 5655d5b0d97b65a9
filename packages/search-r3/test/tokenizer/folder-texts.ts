/** Random texts and conversations that contain what tokenizers often get wrong. */
import fc from 'fast-check';

/** Fragments that pipelines treat in different ways. */
const FRAGMENTS = [
  ...[
    'the',
    'The',
    'CAT',
    'cats',
    'running',
    "don't",
    "'s",
    ' n',
    '12',
    '3456',
    '1.5',
    'snake_case',
    'camelCase',
  ],
  ...[' ', '  ', '\t', '\n', '\r\n', '\u00a0', '\u3000', '\u200b', '\0', '\u007f'],
  ...['.', ' .', ', ', '!', '?', '"', '<', '>', '|', '[', ']', '▁', 'Ġ', '##', '<0x41>', '-', '/'],
  ...[
    'é',
    'e\u0301',
    'ß',
    'ﬁ',
    'Å',
    'Ⅳ',
    '中文',
    'かな',
    '한국',
    'ไทย',
    'שלום',
    'مرحبا',
    '🙂',
    '👩‍👩‍👧',
    '\ufffd',
    '\ufeff',
  ],
  // The halves of a surrogate pair, together and alone.
  ...['\ud83d\ude42', '\ud83d', '\ude42'],
];

const text = (special: readonly string[]) => {
  const fragment = fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...FRAGMENTS) },
    { weight: 3, arbitrary: fc.constantFrom(...special, ...special.map((one) => one.toUpperCase()), 'the') },
    { weight: 3, arbitrary: fc.stringMatching(/^[a-zA-Z0-9 ]{1,8}$/) },
    { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 6 }) },
    { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 4 }) },
  );
  return fc.array(fragment, { maxLength: 12 }).map((parts) => parts.join(''));
};

/** Random texts; the same seed gives the same texts. @param special tokens that the texts may spell out. */
export const randomTexts = (numRuns: number, seed: number, special: readonly string[]): string[] =>
  fc.sample(text(special), { numRuns, seed });

export interface Chat {
  messages: { role: 'system' | 'user' | 'assistant'; content: string }[];
  add_generation_prompt: boolean;
}

export function randomChats(numRuns: number, seed: number, special: readonly string[]): Chat[] {
  const content = text(special).map((value) => value.toWellFormed());
  const turn = fc.record({ role: fc.constantFrom('user' as const, 'assistant' as const), content });
  const chat = fc.record({
    messages: fc
      .tuple(fc.option(content, { nil: undefined }), fc.array(turn, { minLength: 1, maxLength: 4 }))
      .map(([system, turns]) => [
        ...(system === undefined ? [] : [{ role: 'system' as const, content: system }]),
        ...turns,
      ]),
    add_generation_prompt: fc.boolean(),
  });
  return fc.sample(chat, { numRuns, seed });
}
