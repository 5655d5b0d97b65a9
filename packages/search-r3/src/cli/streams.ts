/** A stream to write text to; a terminal has `isTTY`. */
export interface TextStream {
  write(text: string): unknown;
  isTTY?: boolean;
}
