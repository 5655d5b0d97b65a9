/**
 * Chat templates: the Jinja text that a checkpoint brings to turn messages into one string. Rendered by
 * @huggingface/jinja, which exists for these templates.
 */
import { Template } from '@huggingface/jinja';
import { InputError } from '../run/errors.js';

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

export interface ChatTemplate {
  /** @throws InputError where the template refuses the messages. */
  render(messages: readonly ChatMessage[], addGenerationPrompt: boolean): string;
}

/**
 * Parses a template.
 * @param source names it in errors.
 * @param variables what templates may refer to besides the messages: `bos_token`, `eos_token`, ...
 */
export function compileChatTemplate(
  text: string,
  source: string,
  variables: Readonly<Record<string, string>>,
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
    render: (messages, addGenerationPrompt) =>
      attempt('a chat template that takes these messages', () =>
        template.render({
          ...variables,
          messages,
          add_generation_prompt: addGenerationPrompt,
          fixed_date: () => FIXED_DATE,
        }),
      ),
  };
}
