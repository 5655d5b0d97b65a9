/** Finds texts without any visible character. */

const VISIBLE = /[^\s\p{Z}\p{Cc}\p{Cf}]/u;

/** Whether a text has only white space and invisible characters, or none at all. */
export const isBlank = (text: string): boolean => !VISIBLE.test(text);
