/** What was found at a path: for machines, and as text. */
export interface Inspection {
  value: { kind: string; path: string; [key: string]: unknown };
  text: () => string;
}
