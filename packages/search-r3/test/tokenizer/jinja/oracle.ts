/** What transformers renders: live, or as recorded. */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { type ChatMessage, compileChatTemplate, type TemplateVariables } from 'search-r3/tokenizer';
import { ORACLES } from '../../support/python.js';

export interface Case {
  template: string;
  messages: readonly ChatMessage[];
  tokens: Readonly<Record<string, string>>;
  variables: TemplateVariables;
  add_generation_prompt: boolean;
}

export type Rendered = { text: string } | { error: string };

/** Renders by transformers. */
export function renderByOracle(python: string, cases: readonly Case[]): Rendered[] {
  return runOracle(
    python,
    'chat_templates.py',
    cases.map((one) => JSON.stringify(one)).join('\n'),
  ) as Rendered[];
}

/** The JSON lines that a program of tools/oracles prints. */
export function runOracle(python: string, program: string, input: string): unknown[] {
  // Warnings of Python about odd literals are no concern of ours.
  const { stdout, stderr, status } = spawnSync(python, ['-W', 'ignore', `${ORACLES}/${program}`], {
    input,
    encoding: 'utf8',
    maxBuffer: 1 << 30,
  });
  if (status !== 0) throw new Error(stderr);
  return stdout
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown);
}

const compiled = new Map<string, ReturnType<typeof compileChatTemplate>>();

/** Renders by this project. An error that is no InputError is a fault. */
export function renderHere({ template, messages, tokens, variables, add_generation_prompt }: Case): Rendered {
  try {
    const chat = compiled.get(template) ?? compileChatTemplate(template, 'template', tokens);
    compiled.set(template, chat);
    return { text: chat.render(messages, { addGenerationPrompt: add_generation_prompt, variables }) };
  } catch (error) {
    if (error instanceof Error && error.name === 'InputError') return { error: error.message };
    throw error;
  }
}

/** A few digits that stand for what was rendered. */
export function mark(rendered: Rendered): string {
  if ('error' in rendered) return 'error';
  // The text of an object is its address, which differs from run to run: it must be refused here.
  if (/ at 0x[0-9a-f]{6,}/.test(rendered.text)) return 'error';
  return createHash('sha256').update(rendered.text).digest('hex').slice(0, 8);
}

/** Compares by mark: what is refused here but rendered there is counted, and anything else is a difference. */
export function compare(cases: readonly Case[], expected: readonly string[]) {
  let refused = 0;
  const differences: { case: Case; here: Rendered }[] = [];
  for (const [i, one] of cases.entries()) {
    const here = renderHere(one);
    if (mark(here) === expected[i]) continue;
    if ('error' in here) refused++;
    else differences.push({ case: one, here });
  }
  return { refused: refused / cases.length, differences: differences.slice(0, 3) };
}
