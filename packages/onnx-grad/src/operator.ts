/**
 * Definitions of operators. The names of operands and results give the types of their tuples: `['a', 'b', 'c?']` are
 * two values and an optional third, `'...parts'` are one or more.
 */
import type { TensorType } from './dtypes.js';
import type { Arity, Emitter, Node, Operator, Value, Values } from './graph.js';

/** The values that one name stands for. An optional one is read as `Value | undefined`; `Graph.apply` counts them. */
type Named<Name extends string> = Name extends `...${string}`
  ? readonly [Value, ...Value[]]
  : Name extends `${string}?`
    ? Values
    : readonly [Value];

/** The tuple that a list of names stands for. */
type Tuple<Names extends readonly string[]> = Names extends readonly [
  infer First extends string,
  ...infer Rest extends readonly string[],
]
  ? readonly [...Named<First>, ...Tuple<Rest>]
  : readonly [];

type Each<T extends readonly unknown[], X> = { readonly [K in keyof T]: X };

/** A single result always has a gradient in the backward pass, each of several may have none. */
type Outgoing<Results extends Values> = Results extends readonly [Value]
  ? Results
  : Each<Results, Value | undefined>;

interface Definition<
  A,
  I extends readonly string[],
  R extends readonly string[],
  B extends readonly string[],
> {
  readonly name: string;
  readonly operands: I;
  readonly results: R;
  /** Further results that only the vjp uses. Default: none. */
  readonly byproducts?: B;
  /** See `Operator`. */
  readonly inert?: readonly number[];
  readonly rearranges?: boolean;
  infer(inputs: Tuple<I>, attributes: A): Each<Tuple<[...R, ...B]>, TensorType>;
  emit(context: Emitter, node: Node<A, Tuple<I>, Tuple<[...R, ...B]>>): void;
  vjp?(
    node: Node<A, Tuple<I>, Tuple<[...R, ...B]>>,
    gradients: Outgoing<Tuple<R>>,
    needed: Each<Tuple<I>, boolean>,
  ): Each<Tuple<I>, Value | undefined>;
}

function arity<T extends Values>(names: readonly string[]): Arity<T> {
  const least = names.filter((name) => !name.endsWith('?')).length;
  const most = names.some((name) => name.startsWith('...')) ? Infinity : names.length;
  return {
    names,
    admits: (values): values is T => values.length >= least && values.length <= most,
  };
}

/**
 * An operator with attributes `A`, from the names of its operands and results. (Two calls, because TypeScript infers
 * all type parameters of a call or none.)
 */
export const defineOperator =
  <A = null>() =>
  <
    const I extends readonly string[],
    const R extends readonly string[],
    const B extends readonly string[] = [],
  >(
    definition: Definition<A, I, R, B>,
  ): Operator<A, Tuple<I>, Tuple<[...R, ...B]>> => ({
    ...definition,
    operands: arity(definition.operands),
    results: arity([...definition.results, ...(definition.byproducts ?? [])]),
    differentiable: definition.results.some((name) => name.startsWith('...'))
      ? Infinity
      : definition.results.length,
  });

/** Whether a node applies an operator; its operands and attributes are typed then. */
export const applies = <A, I extends Values, O extends Values>(
  node: Node | undefined,
  operator: Operator<A, I, O>,
): node is Node<A, I, O> => node?.operator === operator;
