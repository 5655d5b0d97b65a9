/**
 * Reasoning targets as a file that people read and edit: JSONL, one target a line. A line is appended when its target is
 * there; a line that was cut off by a kill is dropped.
 */
import { appendFile } from 'node:fs/promises';
import { z } from 'zod';
import { exists, InputError, parseJson, readText, validate, writeLinesAtomic } from '../run/index.js';

/** The name of the file in a run folder. */
export const TARGETS_FILE = 'targets.jsonl';

const targetSchema = z
  .strictObject({
    query: z.union([z.string(), z.int().transform(String)]),
    /** Text of the query, for people. */
    text: z.string().optional(),
    reasoning: z.string(),
    source: z.string().optional(),
    /** Of the source `grounded`. */
    style: z.string().optional(),
    /** Whether training uses it. */
    kept: z.boolean().default(true),
    /** Why it is kept or not, for people. */
    why: z.string().optional(),
  })
  .refine(({ kept, reasoning }) => !kept || reasoning.trim() !== '', {
    path: ['reasoning'],
    message: 'expected a text that is not empty, or kept: false',
  });

/** One reasoning target; `query` is the id of its query. */
export type Target = z.output<typeof targetSchema>;

/** An open file of targets. */
export class TargetFile {
  /** By query id. */
  readonly targets: Map<string, Target>;
  readonly #path: string | undefined;

  private constructor(targets: Map<string, Target>, path: string | undefined) {
    this.targets = targets;
    this.#path = path;
  }

  /**
   * @param path undefined: the targets are kept in memory alone.
   * @param known ids that a target may have. @throws InputError as `readTargets`.
   */
  static async open(path: string | undefined, known: ReadonlySet<string>): Promise<TargetFile> {
    if (path === undefined || !(await exists(path))) return new TargetFile(new Map(), path);
    const targets = await readTargets(path, known);
    // Lines are appended: the last one must be whole.
    await writeLinesAtomic(path, lines(targets.values()));
    return new TargetFile(targets, path);
  }

  /** Resolves when the targets are in the file. */
  async add(targets: readonly Target[]): Promise<void> {
    for (const target of targets) this.targets.set(target.query, target);
    if (this.#path === undefined || targets.length === 0) return;
    await appendFile(
      this.#path,
      lines(targets)
        .map((line) => `${line}\n`)
        .join(''),
    );
  }
}

const lines = (targets: Iterable<Target>): string[] =>
  Array.from(targets, (target) => JSON.stringify(target));

/**
 * Reads a file of targets. Only `query` and `reasoning` are needed.
 * @param known ids that a target may have.
 * @throws InputError naming the line, for one that is no target, an unknown query and a second target of a query.
 */
export async function readTargets(path: string, known: ReadonlySet<string>): Promise<Map<string, Target>> {
  const rows = (await readText(path)).split('\n');
  const targets = new Map<string, Target>();
  for (const [i, row] of rows.entries()) {
    if (row.trim() === '' || (i === rows.length - 1 && isCutOff(row))) continue;
    const source = `${path}:${i + 1}`;
    const target = validate(targetSchema, parseJson(row, { source }), source);
    const { query } = target;
    if (!known.has(query)) {
      const expected = 'the id of a training query';
      throw new InputError({ source, field: 'query', expected, found: `"${query}"` });
    }
    if (targets.has(query)) {
      const expected = 'one target for each query';
      throw new InputError({ source, field: 'query', expected, found: `"${query}" again` });
    }
    targets.set(query, target);
  }
  return targets;
}

/** Whether a last line without its end stops inside its object. */
function isCutOff(line: string): boolean {
  return line.startsWith('{') && !line.trimEnd().endsWith('}');
}
