/** A stream for text; `isTTY` is set for a terminal. */
export interface TextStream {
  /** Returns false if the caller should wait for `drain` before writing more. */
  write(text: string): unknown;
  once?(event: 'drain', listener: () => void): unknown;
  isTTY?: boolean;
}
