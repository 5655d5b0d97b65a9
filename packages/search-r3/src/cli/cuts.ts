/** Describes to the user which texts were cut to fit. */

export interface Cuts {
  truncated: number;
  count: number;
  /** What the texts are. */
  what: 'documents' | 'texts';
  /** Longest prompt allowed, in tokens. */
  maxLength: number;
  /** Longest prompt the model can take, in tokens. */
  room: number;
}

export function describeCuts({ truncated, count, what, maxLength, room }: Cuts): string {
  const remedy =
    maxLength < room
      ? `raise --max-length (at most ${room} for this model)`
      : 'that is the most this model can take';
  return `${truncated} of ${count} ${what} were cut to ${maxLength} tokens; ${remedy}`;
}
