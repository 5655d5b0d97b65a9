/**
 * Filters on the fields of documents, in the notation of MongoDB that Pinecone and Chroma use too:
 * `{ year: { $gte: 2020 }, tag: { $in: ['a', 'b'] } }`. The operators are those that LanceDB, PostgreSQL and Qdrant can
 * all evaluate. `parseFilter` checks a filter and turns it into a predicate of few kinds, which a store translates.
 *
 * A field is a path (`metadata.url`) through objects; its values are what stands there, or the elements if that is a
 * list. Null, objects and lists inside lists are no values. Values of different types differ and are never ordered.
 */
import { z } from 'zod';
import { InputError } from '../run/errors.js';
import { validate } from '../run/validate.js';

const scalarSchema = z.union([z.string(), z.number(), z.boolean()]);
const orderedSchema = z.union([z.string(), z.number()]);
const list = z.array(scalarSchema).min(1).readonly();

const conditionSchema = z
  .strictObject({
    $eq: scalarSchema.optional(),
    $in: list.optional(),
    /** Strings are ordered by code point, as ISO dates should be. */
    $gt: orderedSchema.optional(),
    $gte: orderedSchema.optional(),
    $lt: orderedSchema.optional(),
    $lte: orderedSchema.optional(),
    /** No value is equal; also holds for documents without the field. */
    $ne: scalarSchema.optional(),
    $nin: list.optional(),
    /** Whether the field has a value. */
    $exists: z.boolean().optional(),
  })
  .refine((condition) => Object.keys(condition).length > 0, 'at least one operator')
  .superRefine(refuseUndefined);

/** Without this, a value that the caller forgot would make a filter that accepts more. */
function refuseUndefined(fields: object, context: z.RefinementCtx): void {
  for (const [key, value] of Object.entries(fields)) {
    if (value !== undefined) continue;
    const message = 'expected a value';
    context.addIssue({ code: 'invalid_type', expected: 'nonoptional', path: [key], message, input: value });
  }
}

const LOGIC = ['$and', '$or', '$not'];

/** See `Filter`. */
export const filterSchema: z.ZodType<Filter, Filter> = z
  .object({
    get $and() {
      return z.array(filterSchema).min(1).readonly().optional();
    },
    get $or() {
      return z.array(filterSchema).min(1).readonly().optional();
    },
    get $not() {
      return filterSchema.optional();
    },
  })
  .catchall(z.union([scalarSchema, conditionSchema]))
  .superRefine((filter, context) => {
    const keys = Object.keys(filter).filter((key) => key.startsWith('$') && !LOGIC.includes(key));
    if (keys.length > 0) context.addIssue({ code: 'unrecognized_keys', keys, input: filter });
    refuseUndefined(filter, context);
  }) as z.ZodType<Filter, Filter>;

export type Scalar = z.output<typeof scalarSchema>;

/**
 * Operators on one field. Comparisons hold if one of its values fulfils all of them; `$ne` and `$nin` hold if no value
 * is equal.
 */
export type Condition = z.input<typeof conditionSchema>;

/** Conditions by field, a value alone standing for `$eq`. All of them must hold; an empty filter accepts everything. */
export interface Filter {
  readonly $and?: readonly Filter[] | undefined;
  readonly $or?: readonly Filter[] | undefined;
  readonly $not?: Filter | undefined;
  readonly [field: string]: Scalar | Condition | Filter | readonly Filter[] | undefined;
}

/** One test of a value. */
export type Comparison =
  | { readonly operator: 'in'; readonly values: readonly Scalar[] }
  | { readonly operator: 'gt' | 'gte' | 'lt' | 'lte'; readonly value: string | number };

/** A checked filter. */
export type Predicate =
  | { readonly kind: 'and' | 'or'; readonly parts: readonly Predicate[] }
  | { readonly kind: 'not'; readonly part: Predicate }
  /** Some value of the field fulfils all comparisons; without comparisons: the field has a value. */
  | { readonly kind: 'field'; readonly path: readonly string[]; readonly comparisons: readonly Comparison[] };

/**
 * Checks a filter. Its fields may be `id`, `title` and metadata, but not `text`, which databases do not index by value.
 * @throws InputError naming the field or operator.
 */
export function parseFilter(filter: Filter, source = 'filter'): Predicate {
  return predicateOf(validate(filterSchema, filter, source), source);
}

function predicateOf(filter: Filter, source: string): Predicate {
  const { $and = [], $or, $not, ...fields } = filter;
  const parts = $and.map((part) => predicateOf(part, source));
  if ($or !== undefined) parts.push({ kind: 'or', parts: $or.map((part) => predicateOf(part, source)) });
  if ($not !== undefined) parts.push({ kind: 'not', part: predicateOf($not, source) });
  for (const [field, wanted] of Object.entries(fields)) {
    if (field === 'text') {
      const expected = 'a field with metadata, the title or the id';
      throw new InputError({ source, field, expected, found: 'the text' });
    }
    // The schema allows nothing else at a field.
    parts.push(...conditionsOf(field.split('.'), wanted as Scalar | Condition));
  }
  const [only] = parts;
  return parts.length === 1 && only !== undefined ? only : { kind: 'and', parts };
}

function conditionsOf(path: readonly string[], wanted: Scalar | Condition): Predicate[] {
  const condition = typeof wanted === 'object' ? wanted : { $eq: wanted };
  const { $eq, $in, $ne, $nin, $exists, $gt, $gte, $lt, $lte } = condition;
  const within = (values: readonly Scalar[]): Comparison => ({ operator: 'in', values });
  const field = (...comparisons: Comparison[]): Predicate => ({ kind: 'field', path, comparisons });
  const not = (part: Predicate): Predicate => ({ kind: 'not', part });
  const comparisons: Comparison[] = [
    ...($eq === undefined ? [] : [within([$eq])]),
    ...($in === undefined ? [] : [within($in)]),
  ];
  for (const [operator, value] of Object.entries({ gt: $gt, gte: $gte, lt: $lt, lte: $lte })) {
    if (value !== undefined) comparisons.push({ operator: operator as 'gt' | 'gte' | 'lt' | 'lte', value });
  }
  return [
    ...(comparisons.length > 0 ? [field(...comparisons)] : []),
    ...($ne === undefined ? [] : [not(field(within([$ne])))]),
    ...($nin === undefined ? [] : [not(field(within($nin)))]),
    ...($exists === undefined ? [] : [$exists ? field() : not(field())]),
  ];
}

/** Whether a document, as JSON holds it, fulfils a predicate. */
export function matches(predicate: Predicate, document: Readonly<Record<string, unknown>>): boolean {
  switch (predicate.kind) {
    case 'and':
      return predicate.parts.every((part) => matches(part, document));
    case 'or':
      return predicate.parts.some((part) => matches(part, document));
    case 'not':
      return !matches(predicate.part, document);
    case 'field':
      return valuesAt(document, predicate.path).some((value) =>
        predicate.comparisons.every((comparison) => holds(comparison, value)),
      );
    default:
      return predicate satisfies never;
  }
}

function valuesAt(document: Readonly<Record<string, unknown>>, path: readonly string[]): Scalar[] {
  let found: unknown = document;
  for (const key of path) {
    if (typeof found !== 'object' || found === null || Array.isArray(found) || !Object.hasOwn(found, key)) {
      return [];
    }
    found = (found as Record<string, unknown>)[key];
  }
  return (Array.isArray(found) ? found : [found]).filter(isScalar);
}

const isScalar = (value: unknown): value is Scalar =>
  typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean';

function holds(comparison: Comparison, value: Scalar): boolean {
  if (comparison.operator === 'in') return comparison.values.includes(value);
  const order = compare(value, comparison.value);
  if (order === undefined) return false;
  switch (comparison.operator) {
    case 'gt':
      return order > 0;
    case 'gte':
      return order >= 0;
    case 'lt':
      return order < 0;
    case 'lte':
      return order <= 0;
    default:
      return comparison satisfies never;
  }
}

/** The order of two values; undefined for different types. */
function compare(a: Scalar, b: string | number): number | undefined {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  return typeof a === 'string' && typeof b === 'string' ? compareTexts(a, b) : undefined;
}

/** By code point, as databases order UTF-8. JavaScript's own order is by UTF-16 unit. */
function compareTexts(a: string, b: string): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = placeOf(a.charCodeAt(i)) - placeOf(b.charCodeAt(i));
    if (difference !== 0) return difference;
  }
  return a.length - b.length;
}

/** UTF-16 units in the order of their code points: surrogates stand for code points above all others. */
const placeOf = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
