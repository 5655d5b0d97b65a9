/** Generated text for people. */

/**
 * The text without half a character at its end: a generation cut at its length limit may end inside of the bytes of one,
 * which a decoder gives as U+FFFD. Those before are what the model wrote, and stay.
 */
export const wholeCharacters = (text: string): string => text.replace(/\uFFFD+$/, '');
