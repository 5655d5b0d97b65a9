/**
 * Chat templates: the Jinja text that a checkpoint brings to turn messages into one string. Rendered by
 * @huggingface/jinja, which exists for these templates.
 */
import { Template } from '@huggingface/jinja';
import { InputError } from '../run/errors.js';
import { SPECIAL_TOKEN_ROLES } from './files.js';

export interface ChatMessage {
  role: 'system' | 'user' | 'assistant';
  content: string;
}

/** ChatML, the format of the Qwen family, with no default system message. Wants <|im_start|> and <|im_end|> as tokens. */
export const CHATML_TEMPLATE =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/**
 * Some templates write today's date into the system message. An embedding must not depend on the day it is computed,
 * so the date is always the one that Llama 3's template falls back to.
 */
const FIXED_DATE = '26 Jul 2024';

/** What every template is given; `TemplateVariables` cannot replace it. */
export const TEMPLATE_GIVEN: readonly string[] = [
  'messages',
  'add_generation_prompt',
  ...SPECIAL_TOKEN_ROLES,
];

/** Switches of a template by name, as Qwen3's `enable_thinking`. */
export type TemplateVariables = Readonly<Record<string, string | number | boolean>>;

export interface ChatOptions {
  /** End with the opening of the assistant's turn. Default false. */
  addGenerationPrompt?: boolean;
  /** What the template may ask for beside the messages. Default: nothing. */
  variables?: TemplateVariables;
}

export interface ChatTemplate {
  /** @throws InputError where the template refuses the messages. */
  render(messages: readonly ChatMessage[], options: ChatOptions): string;
}

/**
 * Parses a template.
 * @param source names it in errors.
 * @param tokens the special tokens that templates may refer to: `bos_token`, `eos_token`, ...
 */
export function compileChatTemplate(
  text: string,
  source: string,
  tokens: Readonly<Record<string, string>>,
): ChatTemplate {
  const attempt = <T>(expected: string, action: () => T): T => {
    try {
      return action();
    } catch (error) {
      throw new InputError({
        source,
        expected,
        found: error instanceof Error ? error.message : String(error),
      });
    }
  };
  // The library's own strftime_now can only be replaced from within. The newline belongs to the block.
  const template = attempt(
    'a Jinja template',
    () => new Template(`{% set strftime_now = fixed_date %}\n${text}`),
  );
  return {
    render: (messages, { addGenerationPrompt = false, variables = {} }) =>
      attempt('a chat template that takes these messages', () =>
        template.render({
          ...variables,
          ...tokens,
          messages,
          add_generation_prompt: addGenerationPrompt,
          fixed_date: () => FIXED_DATE,
        }),
      ),
  };
}
