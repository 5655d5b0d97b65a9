/**
 * Chat templates: the Jinja text with which a checkpoint turns messages into one string, rendered as
 * `transformers.apply_chat_template` renders it (`jinja/`, docs/decisions/009-chat-templates.md).
 */
import { InputError } from '../run/errors.js';
import { TemplateError } from './jinja/errors.js';
import { fromJson, Template } from './jinja/template.js';
import type { Value } from './jinja/values.js';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** ChatML, the format of the Qwen family, with no default system message. Needs the tokens <|im_start|> and <|im_end|>. */
export const CHATML_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** Switches of a template by name, such as Qwen3's `enable_thinking`. Whole numbers are ints to the template. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean>>;

export interface ChatOptions {
  /** End with the opening of the assistant's turn. Default false. */
  addGenerationPrompt?: boolean;
  /** Variables of the template in addition to the messages. Default: none. */
  variables?: TemplateVariables;
}

export interface ChatTemplate {
  /** @throws InputError with the line of the template at which it rejects the messages or fails. */
  render(messages: readonly ChatMessage[], options: ChatOptions): string;
}

/** Names under which a message's reasoning is passed; transformers fills in the first two from any of them. */
const REASONING_FIELDS = ['reasoning_content', 'thinking', 'reasoning'] as const;

/**
 * Parses a template.
 * @param source names it in errors.
 * @param tokens the special tokens that are set: `bos_token`, `eos_token`, ...
 * @throws InputError with the line of the template that is wrong or not supported.
 */
export function compileChatTemplate(
  text: string,
  source: string,
  tokens: Readonly<Record<string, string>>,
): ChatTemplate {
  const template = attempt(source, 'a Jinja template', () => new Template(text));
  return {
    render: (messages, { addGenerationPrompt = false, variables = {} }) => {
      if (messages.length === 0) {
        throw new InputError({ source: 'chat', expected: 'at least one message', found: 'none' });
      }
      return attempt(source, 'a chat template that takes these messages', () =>
        template.render(
          new Map<string, Value>([
            ...asVariables(variables),
            ...Object.entries(tokens),
            ['messages', messages.map(asMessage)],
            // In transformers, a chat without them gives None, which is defined.
            ['tools', null],
            ['documents', null],
            ['add_generation_prompt', addGenerationPrompt],
          ]),
        ),
      );
    },
  };
}

function asVariables(variables: TemplateVariables): [string, Value][] {
  return Object.entries(variables).map(([name, value]) => [name, fromJson(value)]);
}

/** A message as transformers passes it on: without null fields, and with its reasoning under both names. */
function asMessage(message: ChatMessage): Value {
  const fields = Object.entries(message).filter(([, value]) => value !== null && value !== undefined);
  const given = Object.fromEntries(fields) as Record<string, unknown>;
  const reasoning = REASONING_FIELDS.map((field) => given[field]).find((value) => value !== undefined);
  if (reasoning === undefined) return fromJson(given);
  return fromJson({ thinking: reasoning, ...given, reasoning_content: reasoning });
}

function attempt<T>(source: string, expected: string, action: () => T): T {
  try {
    return action();
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    const { line, message } = error;
    throw new InputError({
      source,
      ...(line !== undefined && { field: `line ${line}` }),
      expected,
      found: message,
    });
  }
}
