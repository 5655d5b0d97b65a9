/** Prompts in a file of their own, as `search-r3 tune-prompt` writes them, where the settings name one. */
import { parse, stringify } from 'yaml';
import { InputError } from '../run/errors.js';
import { exists, readText, writeFileAtomic } from '../run/files.js';

/** What the setting `prompts` stands for: the content of the file it names, or the prompts themselves. */
export async function promptsFrom(value: unknown, source: string): Promise<unknown> {
  if (typeof value !== 'string') return value;
  if (!(await exists(value))) {
    const expected = 'prompts, or a YAML file with them';
    throw new InputError({ source, field: 'prompts', expected, found: value });
  }
  try {
    return parse(await readText(value)) as unknown;
  } catch (error) {
    const found = (error as Error).message.split('\n')[0] ?? '';
    throw new InputError({ source: value, expected: 'valid YAML', found });
  }
}

/** Writes prompts as such a file. */
export const writePrompts = (path: string, prompts: unknown, comment: string): Promise<void> =>
  writeFileAtomic(
    path,
    `${comment.replaceAll(/^/gm, '# ')}\n${stringify(prompts, { aliasDuplicateObjects: false })}`,
  );
