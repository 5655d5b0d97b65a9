/** Reasoning targets in a run folder: a run that is resumed samples none of them again. */
import { join } from 'node:path';
import { z } from 'zod';
import { exists, RecordLog, readJson, readRecords, validate } from '../run/index.js';
import type { ReasoningTargets } from './targets.js';

const FILE = 'targets.jsonl';
/** All targets in one file, as runs had them that sampled before training. */
const WHOLE_FILE = 'targets.json';

const pairs = z.array(z.tuple([z.string(), z.array(z.int().nonnegative())]));

/** What was sampled together: a line is there whole or not at all. */
const piece = z.strictObject({
  /** Number of the piece, from 0. */
  step: z.int().nonnegative(),
  /** Query id and tokens. */
  targets: pairs,
});

export class TargetLog {
  /** The targets that were there when the log was opened. */
  readonly known: ReasoningTargets;
  readonly #log: RecordLog<z.infer<typeof piece>>;
  #next: number;

  private constructor(known: ReasoningTargets, log: RecordLog<z.infer<typeof piece>>, next: number) {
    this.known = known;
    this.#log = log;
    this.#next = next;
  }

  /**
   * Opens a log of a run folder.
   * @param name of the file. Default: that of the targets.
   * @throws InputError for a broken line before the last.
   */
  static async open(folder: string, name = FILE): Promise<TargetLog> {
    const [path, whole] = [join(folder, name), join(folder, WHOLE_FILE)];
    const known: ReasoningTargets = new Map(
      name === FILE && (await exists(whole)) ? validate(pairs, await readJson(whole), whole) : [],
    );
    let last = -1;
    if (await exists(path)) {
      for await (const { step, targets } of readRecords(path, piece)) {
        last = step;
        for (const [id, tokens] of targets) known.set(id, tokens);
      }
    }
    return new TargetLog(known, await RecordLog.open(path, piece, last), last + 1);
  }

  /** Resolves when the targets are on disk. */
  async add(targets: ReasoningTargets): Promise<void> {
    await this.#log.append({ step: this.#next++, targets: [...targets] });
    await this.#log.flush();
  }

  async close(): Promise<void> {
    await this.#log.close();
  }
}
