/** A teacher: any server with OpenAI's interface for chat completions. */
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { InputError, InterruptedError } from '../run/index.js';
import type { TeacherOptions } from '../sft/index.js';

/** Attempts at a request that the server was too busy for. */
const ATTEMPTS = 5;
/** Seconds before the second attempt, where the server names none; doubled each time. */
const FIRST_WAIT = 1;

const answerSchema = z.object({
  choices: z.array(z.object({ message: z.object({ content: z.string() }) })).min(1),
});

/**
 * What the teacher says about a query. Answers 429 and 5xx are tried again, after the seconds of `Retry-After`.
 * @throws InputError for any other answer; InterruptedError when aborted.
 */
export async function askTeacher(
  { url, model, apiKeyVariable, prompt }: TeacherOptions,
  texts: { query: string; document: string },
  signal?: AbortSignal,
): Promise<string> {
  const key = apiKeyVariable === undefined ? undefined : process.env[apiKeyVariable];
  const content = prompt.replace(/\{(query|document)\}/g, (_, name: 'query' | 'document') => texts[name]);
  const address = `${url.replace(/\/$/, '')}/chat/completions`;
  const refused = (found: string) =>
    new InputError({ source: address, expected: 'a chat completion', found });
  for (let attempt = 1; ; attempt++) {
    try {
      const response = await fetch(address, {
        method: 'POST',
        headers: { 'content-type': 'application/json', ...(key && { authorization: `Bearer ${key}` }) },
        body: JSON.stringify({ model, messages: [{ role: 'user', content }] }),
        ...(signal && { signal }),
      });
      const text = await response.text();
      if (response.ok) {
        const answer = answerSchema.safeParse(JSON.parse(text));
        if (!answer.success) throw refused(text.slice(0, 200));
        return answer.data.choices[0]?.message.content ?? '';
      }
      const busy = response.status === 429 || response.status >= 500;
      if (!busy || attempt === ATTEMPTS) throw refused(`status ${response.status}: ${text.slice(0, 200)}`);
      const asked = Number(response.headers.get('retry-after') ?? Number.NaN);
      const seconds = Number.isFinite(asked) ? asked : FIRST_WAIT * 2 ** (attempt - 1);
      await sleep(seconds * 1000, undefined, signal && { signal });
    } catch (error) {
      if (error instanceof InputError) throw error;
      if (signal?.aborted) throw new InterruptedError('reasoning targets: stopped by the caller');
      throw refused(error instanceof Error ? error.message : String(error));
    }
  }
}
