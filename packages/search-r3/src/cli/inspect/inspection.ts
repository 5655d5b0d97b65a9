/** What is at a path, as data and as text. */
export interface Inspection {
  value: { kind: string; path: string; [key: string]: unknown };
  text: () => string;
}
