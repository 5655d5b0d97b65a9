/** Checks input against a zod schema and reports in one line what is wrong and where. */
import { inspect } from 'node:util';
import type { z } from 'zod';
import { closest } from './closest.js';
import { InputError } from './errors.js';
import { RENAMED_KEYS } from './renamed.js';
import { findKey, keysAt, nodesAt } from './schema-tree.js';

type Path = readonly PropertyKey[];

/** Where a value comes from: the name of a file or option, or a function that gives it for each key. */
export type Source = string | ((path: Path) => string);

/**
 * `value` as parsed by the schema, with defaults filled in.
 * @throws InputError naming the source, the key, what was expected and what was found; for an unknown key, also the key
 * that was probably meant, or its new name.
 */
export function validate<T>(schema: z.ZodType<T>, value: unknown, source: Source): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const { issues } = result.error;
  // A misspelled key often leaves a required key missing too: report the misspelling.
  const issue = issues.find(({ code }) => code === 'unrecognized_keys') ?? issues[0];
  if (issue === undefined) throw new Error('internal: a failed validation without an issue');
  throw asInputError(schema, value, source, issue);
}

function asInputError(
  schema: z.ZodType,
  value: unknown,
  source: Source,
  issue: z.core.$ZodIssue,
): InputError {
  const tell = (path: Path) => (typeof source === 'string' ? source : source(path));
  const inner = issue.code === 'invalid_union' ? closestForm(issue) : undefined;
  if (inner !== undefined) return asInputError(schema, value, source, inner);
  if (issue.code === 'unrecognized_keys') {
    const key = issue.keys[0] ?? '';
    const path = [...issue.path, key];
    const known = keysAt(schema, issue.path);
    const renamed = Object.hasOwn(RENAMED_KEYS, key) ? RENAMED_KEYS[key] : undefined;
    if (renamed !== undefined && known.includes(renamed)) {
      const inner = onlyKeys(valueAt(value, path));
      const [old, current] = [key, renamed].map((name) => dotted([...issue.path, name, ...inner]));
      return new InputError({
        source: tell([...path, ...inner]),
        field: String(old),
        expected: 'its new name',
        found: 'the old one',
        remedy: `${old} was renamed: use ${current}.`,
      });
    }
    const meant = closest(key, known) ?? findKey(schema, key);
    return new InputError({
      source: tell(path),
      field: dotted(path),
      expected: known.length === 0 ? 'no further keys' : `one of the keys ${known.join(', ')}`,
      found: `the unknown key "${key}"`,
      ...(meant === undefined ? {} : { remedy: `Did you mean "${meant}"?` }),
    });
  }
  const field = dotted(issue.path);
  const given = valueAt(value, issue.path);
  // Rules between fields see the defaults.
  const isDefault = given === undefined && issue.code === 'custom';
  return new InputError({
    source: tell(issue.path),
    ...(field === '' ? {} : { field }),
    expected: expectation(issue, schema),
    found: isDefault ? 'its default' : show(given),
  });
}

/**
 * The problem with the form of a union that the value comes closest to: the one with the fewest problems among those that
 * it could be. Undefined if it is of another kind than every form.
 */
function closestForm({ path, errors }: z.core.$ZodIssueInvalidUnion): z.core.$ZodIssue | undefined {
  const [closest] = errors
    .filter((issues) => issues.every((issue) => issue.path.length > 0 || issue.code === 'unrecognized_keys'))
    .sort((a, b) => a.length - b.length);
  const issue = closest?.find(({ code }) => code === 'unrecognized_keys') ?? closest?.[0];
  return issue && { ...issue, path: [...path, ...issue.path] };
}

/** What the schema expects, from zod's message: "Invalid input: expected number, received string" -> "number". */
function expectation(issue: z.core.$ZodIssue, schema: z.ZodType): string {
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const forms = issue.errors.flatMap((branch) =>
      branch[0] === undefined ? [] : [expectation(branch[0], schema)],
    );
    return [...new Set(forms)].join(' or ');
  }
  // The schema's own messages say more.
  if (/^(Invalid input|Too small|Too big): /.test(issue.message)) {
    if (issue.code === 'invalid_type' && issue.expected === 'int') return 'a whole number';
    if ((issue.code === 'too_small' || issue.code === 'too_big') && issue.origin === 'number') {
      return inRange(issue, schema);
    }
  }
  return /expected (.+?)(?:, received .*)?$/s.exec(issue.message)?.[1] ?? issue.message;
}

/** A number within a bound, worded as in the guide to the options. */
function inRange(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig, schema: z.ZodType): string {
  const isWhole = nodesAt(schema, issue.path).some(({ type }) => type === 'integer');
  const number = isWhole ? 'a whole number' : 'a number';
  if (issue.code === 'too_big') return `${number} ${issue.inclusive ? 'to' : 'below'} ${issue.maximum}`;
  if (issue.inclusive) return `${number} from ${issue.minimum}`;
  return isWhole ? `${number} from ${Number(issue.minimum) + 1}` : `${number} above ${issue.minimum}`;
}

function dotted(path: Path): string {
  return path.map(String).join('.');
}

/** The keys down to the first value that is not an object with a single key: the setting as the user gave it. */
function onlyKeys(value: unknown): string[] {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  const [first, ...others] = Object.entries(value);
  return first === undefined || others.length > 0 ? [] : [first[0], ...onlyKeys(first[1])];
}

function valueAt(value: unknown, path: Path): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      inner === null || inner === undefined ? inner : (inner as Record<PropertyKey, unknown>)[key],
    value,
  );
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text = typeof value === 'number' ? String(value) : asJson(value);
  return text.length > 80 ? `${text.slice(0, 80)}...` : text;
}

function asJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return inspect(value, { breakLength: Number.POSITIVE_INFINITY }); // JSON has no BigInt and no cycles.
  }
}
