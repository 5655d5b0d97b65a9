/** Prompts made ahead, for reference computations that are synchronous. */
import { directPrompts, type PromptIds, type Role, reasoningPrompts } from 'search-r3/checkpoint';
import type { Policy } from 'search-r3/model';

export interface MadePrompts {
  direct: (text: string, role: Role) => PromptIds;
  reasoning: (text: string) => PromptIds;
}

/** Every text in all three prompts. Looking up another text is an error. */
export async function makePrompts(
  { tokenizer, prompts }: Policy,
  texts: Iterable<string>,
  limit: { maxTokens?: number } = {},
): Promise<MadePrompts> {
  const all = [...new Set(texts)];
  const made = {
    query: await directPrompts(tokenizer, prompts, all, 'query', limit),
    document: await directPrompts(tokenizer, prompts, all, 'document', limit),
    reasoning: await reasoningPrompts(tokenizer, prompts, all, limit),
  };
  const find = (kind: keyof typeof made, text: string): PromptIds => {
    const prompt = made[kind][all.indexOf(text)];
    if (prompt === undefined) throw new Error(`no prompt was made of "${text}"`);
    return prompt;
  };
  return { direct: (text, role) => find(role, text), reasoning: (text) => find('reasoning', text) };
}
