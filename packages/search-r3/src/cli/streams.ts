/** A stream to write text to; a terminal has `isTTY`. */
export interface TextStream {
  /** False where no more should be written until it drains. */
  write(text: string): unknown;
  once?(event: 'drain', listener: () => void): unknown;
  isTTY?: boolean;
}
