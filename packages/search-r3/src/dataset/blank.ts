/** Texts in which nothing is seen. */

const VISIBLE = /[^\s\p{Z}\p{Cc}\p{Cf}]/u;

/** Whether a text is empty, but for white space and characters that are not seen. */
export const isBlank = (text: string): boolean => !VISIBLE.test(text);
