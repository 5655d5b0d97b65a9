/** A result of many rows, written as they are made: one JSON object a line, or all in one JSON array. */
import type { TextStream } from './streams.js';

export class RowWriter {
  readonly #stream: TextStream;
  readonly #array: boolean;
  #written = 0;

  constructor(stream: TextStream, form: 'lines' | 'array') {
    this.#stream = stream;
    this.#array = form === 'array';
  }

  /** Resolves when there is room for more: rows must not pile up before a reader that is slower than their making. */
  async write(row: object): Promise<void> {
    const text = JSON.stringify(row);
    const isFirst = this.#written++ === 0;
    const flows = this.#stream.write(this.#array ? `${isFirst ? '[' : ','}${text}` : `${text}\n`);
    const { once } = this.#stream;
    if (flows !== false || once === undefined) return;
    await new Promise<void>((resolve) => once.call(this.#stream, 'drain', resolve));
  }

  /** Ends the array, if one was begun: what was written before an interruption is a document too. */
  end(): void {
    if (this.#array && this.#written > 0) this.#stream.write(']\n');
  }
}
