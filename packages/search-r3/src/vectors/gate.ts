/** Lets many readers in at a time, or one writer, in the order they came. */
export class Gate {
  /** Settles when the last writer has left. */
  #writer: Promise<unknown> = Promise.resolve();
  /** Readers that came after that writer. */
  #readers = new Set<Promise<unknown>>();

  read<T>(work: () => Promise<T>): Promise<T> {
    const own = this.#writer.then(work);
    const left: Promise<unknown> = own
      .catch(() => {})
      .finally(() => {
        this.#readers.delete(left);
      });
    this.#readers.add(left);
    return own;
  }

  write<T>(work: () => Promise<T>): Promise<T> {
    const own = Promise.all([this.#writer, ...this.#readers]).then(work);
    this.#writer = own.catch(() => {});
    this.#readers = new Set();
    return own;
  }
}
