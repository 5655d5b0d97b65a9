/**
 * What the schema of a setting says about it, with `.meta()`. The guide to the options and the help of the commands are
 * rendered from it, so the text of a setting exists once.
 */
import type {} from 'zod';

export interface SettingMeta {
  /**
   * What it does, in sentences of Markdown; verbs in the imperative. The first sentence stands alone in the help of a
   * flag.
   */
  description: string;
  /** When a user should change it, in sentences of Markdown. */
  when: string;
  /** What holds if it is left out and the schema has no default: a phrase of Markdown. */
  ifUnset?: string;
}

declare module 'zod' {
  interface GlobalMeta extends Pick<Partial<SettingMeta>, 'when' | 'ifUnset'> {}
}
