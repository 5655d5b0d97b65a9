/** Options of public calls, checked against a strict zod schema: an unknown key or an impossible value is refused. */
import type { z } from 'zod';
import { InputError } from '../run/errors.js';

/**
 * `options` with the schema's defaults filled in.
 * @param source names the call in the error, for example `loadBeir options`.
 * @throws InputError naming the option, what was expected and what was found.
 */
export function parseOptions<S extends z.ZodObject>(
  schema: S,
  options: unknown,
  source: string,
): z.output<S> {
  const result = schema.safeParse(options ?? {});
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  if (issue?.code === 'unrecognized_keys') {
    throw new InputError({
      source,
      field: issue.keys.join(', '),
      expected: `only the options ${Object.keys(schema.shape).join(', ')}`,
      found: 'an unknown one',
    });
  }
  const path = issue?.path ?? [];
  const found = path.reduce<unknown>((value, key) => (value as Record<PropertyKey, unknown>)?.[key], options);
  throw new InputError({
    source,
    ...(path.length > 0 ? { field: path.join('.') } : {}),
    expected: `a valid value (${issue?.message ?? 'unknown problem'})`,
    found: describeValue(found),
  });
}

/** A value in a few words, for the "found" part of an error. */
export function describeValue(value: unknown): string {
  if (value === undefined) return 'nothing';
  const text =
    typeof value === 'number' || typeof value === 'function' ? String(value) : JSON.stringify(value);
  return text.length > 80 ? `${text.slice(0, 77)}...` : text;
}
