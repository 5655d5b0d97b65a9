/**
 * Where the instruction of a prompt goes: into the system message or, if the template rejects or ignores one, at the
 * start of the user's turn, followed by an empty line. This is found by rendering, so it depends only on the template.
 */
import { InputError } from '../run/errors.js';
import type { ChatMessage, Tokenizer } from '../tokenizer/index.js';
import type { Prompts } from './prompts.js';

/** The messages of a prompt. */
type Arrange = (instruction: string, text: string) => readonly ChatMessage[];

interface Arrangement {
  arrange: Arrange;
  /** What the template does to a system message, if the instruction had to go elsewhere. */
  reason?: string;
}

const withSystem: Arrange = (instruction, text) => [
  { role: 'system', content: instruction },
  { role: 'user', content: text },
];

const withinUser: Arrange = (instruction, text) => [
  { role: 'user', content: instruction === '' ? text : `${instruction}\n\n${text}` },
];

const found = new WeakMap<Tokenizer, WeakMap<Prompts, Arrangement>>();

/** The text that the model reads for an instruction and a text, up to the opening of the assistant's turn. */
export function renderPrompt(
  tokenizer: Tokenizer,
  prompts: Prompts,
  instruction: string,
  text: string,
): string {
  const { arrange } = arrangement(tokenizer, prompts);
  return render(tokenizer, prompts, arrange(instruction, text));
}

/** Notes that the template has no system role, or cannot be used at all. None without a template, or if no prompt uses it. */
export function instructionNotes(tokenizer: Tokenizer, prompts: Prompts): string[] {
  const isChat = [prompts.query, prompts.document, prompts.reasoning].some(
    (prompt) => prompt && 'system' in prompt,
  );
  if (!tokenizer.hasChatTemplate || !isChat) return [];
  try {
    const { reason } = arrangement(tokenizer, prompts);
    if (reason === undefined) return [];
    return [`The chat template ${reason}: instructions are written at the head of the user's turn.`];
  } catch (error) {
    if (error instanceof InputError) return [`No prompt can be made: ${error.message}`];
    throw error;
  }
}

/** @throws InputError if the template leaves out the instruction or the text wherever it is put. */
function arrangement(tokenizer: Tokenizer, prompts: Prompts): Arrangement {
  const known = found.get(tokenizer) ?? new WeakMap<Prompts, Arrangement>();
  found.set(tokenizer, known);
  const before = known.get(prompts);
  if (before !== undefined) return before;
  const made = findArrangement(tokenizer, prompts);
  known.set(prompts, made);
  return made;
}

function findArrangement(tokenizer: Tokenizer, prompts: Prompts): Arrangement {
  const inSystem = failure(tokenizer, prompts, withSystem);
  if (inSystem === undefined) return { arrange: withSystem };
  const inUser = failure(tokenizer, prompts, withinUser);
  if (inUser === undefined) return { arrange: withinUser, reason: reasonOf(inSystem) };
  if (inUser instanceof InputError) throw inUser;
  throw new InputError({
    source: 'chat template',
    expected: "a template that writes the instruction and the text of the user's turn",
    found: `one that ignores the ${inUser}`,
    remedy: 'Put a template for plain text into chat_template.jinja of the model.',
  });
}

function reasonOf(failed: Failure): string {
  if (failed === 'text') return "ignores the user's text beside a system message";
  return failed === 'instruction' ? 'ignores system messages' : 'refuses system messages';
}

/** What a template ignores, or the error with which it rejects the messages. */
type Failure = 'instruction' | 'text' | InputError;

/** Renders prompts that differ in one thing: if the results are equal, the template ignores it. */
function failure(tokenizer: Tokenizer, prompts: Prompts, arrange: Arrange): Failure | undefined {
  const { query, document, reasoning } = prompts;
  const own = [query, document, reasoning].flatMap((prompt) =>
    prompt !== undefined && 'system' in prompt ? [prompt.system] : [],
  );
  const instructions = new Set([...own, 'First instruction.', 'Second instruction.']);
  const rendered = (instruction: string, text: string) =>
    render(tokenizer, prompts, arrange(instruction, text));
  try {
    const byInstruction = new Set(
      [...instructions].map((instruction) => rendered(instruction, 'first text')),
    );
    if (byInstruction.size < instructions.size) return 'instruction';
    const byText = own.map((instruction) => [
      rendered(instruction, 'a text'),
      rendered(instruction, 'b text'),
    ]);
    return byText.some(([a, b]) => a === b) ? 'text' : undefined;
  } catch (error) {
    if (error instanceof InputError) return error;
    throw error;
  }
}

function render(
  tokenizer: Tokenizer,
  { templateVariables = {} }: Prompts,
  messages: readonly ChatMessage[],
): string {
  return tokenizer.renderChat(messages, { addGenerationPrompt: true, variables: templateVariables });
}
