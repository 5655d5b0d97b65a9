/** Writes rows as they come: one JSON object per line, or all in one JSON array. */
import type { TextStream } from './streams.js';

export class RowWriter {
  readonly #stream: TextStream;
  readonly #array: boolean;
  #written = 0;

  constructor(stream: TextStream, form: 'lines' | 'array') {
    this.#stream = stream;
    this.#array = form === 'array';
  }

  /** Resolves once the stream has room for more, so that rows do not pile up in front of a slow reader. */
  async write(row: object): Promise<void> {
    const text = JSON.stringify(row);
    const isFirst = this.#written++ === 0;
    const flows = this.#stream.write(this.#array ? `${isFirst ? '[' : ','}${text}` : `${text}\n`);
    const { once } = this.#stream;
    if (flows !== false || once === undefined) return;
    await new Promise<void>((resolve) => once.call(this.#stream, 'drain', resolve));
  }

  /** Closes the array if one was begun, so that the output is valid JSON even after an interruption. */
  end(): void {
    if (this.#array && this.#written > 0) this.#stream.write(']\n');
  }
}
