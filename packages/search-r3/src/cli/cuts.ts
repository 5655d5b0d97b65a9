/** What people are told of texts that were cut to fit. */

export interface Cuts {
  truncated: number;
  count: number;
  /** What the texts are. */
  what: 'documents' | 'texts';
  /** Longest prompt that was allowed, in tokens, and the longest that the model could have taken. */
  maxLength: number;
  room: number;
}

export function describeCuts({ truncated, count, what, maxLength, room }: Cuts): string {
  const remedy =
    maxLength < room ? `--max-length takes up to the ${room} of the model` : 'the model takes no more';
  return `${truncated} of ${count} ${what} were cut to ${maxLength} tokens; ${remedy}`;
}
