import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { directPrompt, instructionNotes, reasoningPrompt, resolvePrompts } from 'search-r3/checkpoint';
import { Tokenizer, trainByteLevelBpe } from 'search-r3/tokenizer';
import { describe, expect, test } from 'vitest';

const plain = await trainByteLevelBpe(['query document reasoning text'], { vocabSize: 300 });
plain.addToken('<|embed_token|>');

const prompts = resolvePrompts({
  query: { system: 'query' },
  document: { system: 'document' },
  reasoning: { system: 'reasoning' },
});

async function withTemplate(template: string): Promise<Tokenizer> {
  const folder = await mkdtemp(join(tmpdir(), 'instructions-'));
  await plain.save(folder);
  await writeFile(join(folder, 'chat_template.jinja'), template);
  return Tokenizer.load(folder);
}

const TURNS = '{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]';
const REFUSES =
  "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
const IGNORES =
  "{% for m in messages if m.role != 'system' %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]";
const IN_USER =
  "{% set s = messages[0].content if messages[0].role == 'system' else '' %}" +
  "{% for m in messages if m.role == 'user' %}[INST]{{ s ~ '\\n' ~ m.content }}[/INST]{% endfor %}";
const LAST_LETTER =
  "{% for m in messages %}[{{ m.role }}]{{ m.content[-1:] if m.role == 'system' else m.content }}{% endfor %}[assistant]";

async function texts(tokenizer: Tokenizer, given = prompts): Promise<string[]> {
  const all = [
    await directPrompt(tokenizer, given, 'the text', 'query'),
    await directPrompt(tokenizer, given, 'the text', 'document'),
    await reasoningPrompt(tokenizer, given, 'the text'),
  ];
  return all.map(({ ids }) => tokenizer.decode(ids));
}

describe('the instruction of a prompt', () => {
  test('goes into the system message', async () => {
    const tokenizer = await withTemplate(TURNS);
    expect(await texts(tokenizer)).toEqual([
      '[system]query[user]the text[assistant]The embedding is<|embed_token|>',
      '[system]document[user]the text[assistant]The embedding is<|embed_token|>',
      '[system]reasoning[user]the text[assistant]',
    ]);
    expect(instructionNotes(tokenizer, prompts)).toEqual([]);
    expect(instructionNotes(await withTemplate(IN_USER), prompts)).toEqual([]);
    expect((await texts(await withTemplate(IN_USER)))[2]).toBe('[INST]reasoning\nthe text[/INST]');
  });

  test.each([
    ['refuses system messages', REFUSES + TURNS],
    ['ignores system messages', IGNORES],
    [
      "ignores the user's text beside a system message",
      `{{ messages[0].role ~ messages[0].content }}[assistant]`,
    ],
    ['ignores system messages', LAST_LETTER],
  ])('goes to the head of the user turn where the template %s', async (reason, template) => {
    const tokenizer = await withTemplate(template);
    const [query, document, reasoning] = await texts(tokenizer);
    expect(query).toMatch(/^\[?user\]?query\n\nthe text(\[assistant\])?The embedding is<\|embed_token\|>$/);
    expect(document).toBe(query?.replace('query', 'document'));
    expect(reasoning).toContain('reasoning\n\nthe text');
    expect(instructionNotes(tokenizer, prompts)).toEqual([
      `The chat template ${reason}: instructions are written at the head of the user's turn.`,
    ]);
  });

  test('depends on the variables of the template', async () => {
    const tokenizer = await withTemplate(`{% if old %}${REFUSES}{% endif %}${TURNS}`);
    const old = { ...prompts, templateVariables: { old: true } };
    expect((await texts(tokenizer))[2]).toBe('[system]reasoning[user]the text[assistant]');
    expect((await texts(tokenizer, old))[2]).toBe('[user]reasoning\n\nthe text[assistant]');
  });

  test('without an instruction the text stands alone', async () => {
    const tokenizer = await withTemplate(REFUSES + TURNS);
    const bare = resolvePrompts({ reasoning: { system: '' } });
    expect((await texts(tokenizer, bare))[2]).toBe('[user]the text[assistant]');
  });

  test.each<[string, string, RegExp]>([
    [
      'ignores the text',
      '[assistant]',
      /expected a template that writes .* found one that ignores the instruction/,
    ],
    [
      'reads texts as lists of parts',
      "{% for m in messages %}{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}{% endfor %}",
      /ignores the instruction\. Put a template for plain text/,
    ],
    [
      'refuses every chat',
      "\n{{ raise_exception('Conversation roles must alternate') }}",
      /chat_template\.jinja: line 2: .* found Conversation roles must alternate/,
    ],
  ])('a template that %s is an error, and a note', async (_, template, message) => {
    const tokenizer = await withTemplate(template);
    await expect(directPrompt(tokenizer, prompts, 'the text', 'query')).rejects.toThrow(message);
    const [note] = instructionNotes(tokenizer, prompts);
    expect(note).toMatch(/^No prompt can be made: /);
    expect(note).toMatch(message);
  });

  test('a tokenizer without a template has no note', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'instructions-'));
    await plain.save(folder);
    await writeFile(join(folder, 'tokenizer_config.json'), '{}');
    expect(instructionNotes(await Tokenizer.load(folder), prompts)).toEqual([]);
  });
});
