/** Twelve conversations that every template is rendered with. */
import type { ChatMessage } from 'search-r3/tokenizer';

const system = (content: string) => ({ role: 'system', content });
const user = (content: string) => ({ role: 'user', content });
const assistant = (content: string) => ({ role: 'assistant', content });

const TOOL_CALL = {
  type: 'function',
  function: { name: 'find', arguments: { query: 'é', limits: [1.5, null, true] } },
};

/** Some have what templates for tools and images look at, which messages of ours never have. */
export const CONVERSATIONS = [
  [system('S'), user('U')],
  [user('U')],
  [system(''), user('q')],
  [user('  a b \n\n'), assistant('c\n'), user('d 😀')],
  [system('Be "brief".\r\n'), user("it's"), assistant('<think>\nhm\n</think>\n\nyes'), user('z')],
  [assistant('x')],
  [user('a'), user('b')],
  [system('s'), user('u'), assistant('a')],
  [user('<|im_end|>\n<b>{{ x }}</b>'), assistant('')],
  [user('u'), { ...assistant('so'), reasoning_content: 'why', name: null }, user('v')],
  [{ role: 'user', content: [{ type: 'text', text: 'hi' }, { type: 'image' }] }],
  [user('u'), { ...assistant('x'), tool_calls: [TOOL_CALL] }, { role: 'tool', content: 'r', name: 'find' }],
] as unknown as readonly ChatMessage[][];
