/** Turns expressions into functions of the variables. */
import { call } from './arguments.js';
import { getAttribute, getItem } from './attributes.js';
import { Dict, iterate, Tuple } from './containers.js';
import { numeric } from './equality.js';
import { raise, TemplateError, unsupported } from './errors.js';
import { type Arguments, children, type Expression, type Filter, type Node } from './nodes.js';
import { arithmetic, compare, signed } from './operators.js';
import { FILTERS, TESTS } from './registry.js';
import { str } from './repr.js';
import { type Activation, activate, Context, nameReader, type Scope } from './scope.js';
import { sliced } from './slices.js';
import { type Keywords, NO_KEYWORDS, truthy, typeName, Undefined, type Value } from './values.js';

export type Evaluate = (activation: Activation) => Value;

export function compileExpression(node: Expression, scope: Scope): Evaluate {
  const evaluate = compileNode(node, scope);
  return isConstant(node) ? folded(evaluate) : evaluate;
}

/** Filters that Jinja2 does not evaluate before rendering. */
const OF_CONTEXT: ReadonlySet<string> = new Set([
  'map',
  'select',
  'reject',
  'selectattr',
  'rejectattr',
  'random',
]);

function isConstant(node: Node): boolean {
  if (node.type === 'name' || node.type === 'call') return false;
  if (node.type === 'filter' && (node.input === undefined || OF_CONTEXT.has(node.name))) return false;
  return children(node).every(isConstant);
}

/**
 * Jinja2 evaluates constant expressions once and writes the values into Python code, which has no literals for infinity
 * and NaN.
 */
function folded(evaluate: Evaluate): Evaluate {
  const value = constantValue(evaluate);
  if (typeof value === 'number' && !Number.isFinite(value)) unsupported('a constant that is infinite or NaN');
  const isScalar = value !== undefined && (value === null || typeof value !== 'object');
  return isScalar ? () => value : evaluate;
}

/**
 * The value of a constant; undefined if evaluating it raises an error. The error is then raised when the constant is
 * reached.
 */
function constantValue(evaluate: Evaluate): Value | undefined {
  try {
    return evaluate(activate(new Context(new Map(), new Map())));
  } catch (error) {
    if (error instanceof TemplateError) return undefined;
    throw error;
  }
}

function compileNode(node: Expression, scope: Scope): Evaluate {
  const compile = (child: Expression) => compileExpression(child, scope);
  switch (node.type) {
    case 'constant': {
      const { value } = node;
      return () => value;
    }
    case 'name':
      return nameReader(node.name, scope);
    case 'tuple': {
      const items = node.items.map(compile);
      return (activation) => new Tuple(items.map((item) => item(activation)));
    }
    case 'list': {
      const items = node.items.map(compile);
      return (activation) => items.map((item) => item(activation));
    }
    case 'dict': {
      const pairs = node.items.map(({ key, value }) => [compile(key), compile(value)] as const);
      return (activation) => new Dict(pairs.map(([key, value]) => [key(activation), value(activation)]));
    }
    case 'concat': {
      const items = node.items.map(compile);
      return (activation) => {
        let text = '';
        for (const item of items) text += str(item(activation));
        return text;
      };
    }
    case 'condition':
      return compileCondition(node, { ...scope, soft: true });
    case 'and': {
      const [left, right] = [compile(node.left), compile(node.right)];
      return (activation) => {
        const value = left(activation);
        return truthy(value) ? right(activation) : value;
      };
    }
    case 'or': {
      const [left, right] = [compile(node.left), compile(node.right)];
      return (activation) => {
        const value = left(activation);
        return truthy(value) ? value : right(activation);
      };
    }
    case 'not': {
      const operand = compile(node.operand);
      return (activation) => !truthy(operand(activation));
    }
    case 'plus':
    case 'minus': {
      const operand = compile(node.operand);
      const sign = node.type === 'minus' ? '-' : '+';
      return (activation) => signed(sign, operand(activation));
    }
    case 'binary': {
      const { operator } = node;
      // Jinja2 writes a constant without brackets, so that -2 ** x becomes -(2 ** x).
      const isMisread = operator === '**' && isConstant(node.left) && !isConstant(node.right);
      if (isMisread && isNegative(node.left, scope)) unsupported('a negative constant to a power');
      const [left, right] = [compile(node.left), compile(node.right)];
      return (activation) => arithmetic(operator, left(activation), right(activation));
    }
    case 'compare':
      return compileComparison(node, scope);
    case 'attribute': {
      const { name } = node;
      const object = compile(node.object);
      return (activation) => getAttribute(object(activation), name);
    }
    case 'item':
      return compileItem(node.object, node.key, scope);
    case 'slice':
      throw new TemplateError('invalid syntax: a slice outside of brackets', node.line);
    case 'call': {
      const callee = compile(node.callee);
      const args = compileArguments(node.args, scope);
      return (activation) => {
        const target = callee(activation);
        return call(target, args.positional(activation), args.keywords(activation));
      };
    }
    case 'filter': {
      const { input } = node;
      if (input === undefined) throw new TemplateError('a filter without an input', node.line);
      return compileFilter(node, compile(input), scope);
    }
    case 'test':
      return compileTest(node, scope);
    default:
      return node satisfies never;
  }
}

function isNegative(node: Expression, scope: Scope): boolean {
  const value = numeric(constantValue(compileNode(node, scope)) ?? null);
  return value !== undefined && (value < 0 || Object.is(value, -0));
}

function compileCondition(node: Extract<Expression, { type: 'condition' }>, scope: Scope): Evaluate {
  const test = compileExpression(node.test, scope);
  const value = compileExpression(node.value, scope);
  const hint = `the inline if-expression on line ${node.line} evaluated to false and no else section was defined.`;
  const otherwise =
    node.otherwise === undefined ? () => new Undefined(hint) : compileExpression(node.otherwise, scope);
  return (activation) => (truthy(test(activation)) ? value(activation) : otherwise(activation));
}

/** `a < b < c` is `a < b and b < c`, with b evaluated once. */
function compileComparison(node: Extract<Expression, { type: 'compare' }>, scope: Scope): Evaluate {
  const first = compileExpression(node.first, scope);
  const rest = node.rest.map(({ operator, right }) => ({ operator, right: compileExpression(right, scope) }));
  return (activation) => {
    let left = first(activation);
    for (const { operator, right } of rest) {
      const value = right(activation);
      if (!compare(operator, left, value)) return false;
      left = value;
    }
    return true;
  };
}

function compileItem(objectNode: Expression, key: Expression, scope: Scope): Evaluate {
  const object = compileExpression(objectNode, scope);
  if (key.type !== 'slice') {
    const index = compileExpression(key, scope);
    return (activation) => getItem(object(activation), index(activation));
  }
  const none = () => null;
  const [start, stop, step] = [key.start, key.stop, key.step].map((part) =>
    part === undefined ? none : compileExpression(part, scope),
  ) as [Evaluate, Evaluate, Evaluate];
  return (activation) => sliced(object(activation), start(activation), stop(activation), step(activation));
}

interface CompiledArguments {
  positional: (activation: Activation) => readonly Value[];
  keywords: (activation: Activation) => Keywords;
}

const NO_ARGUMENTS: readonly Value[] = [];

export function compileArguments(given: Arguments, scope: Scope): CompiledArguments {
  const compile = (node: Expression) => compileExpression(node, scope);
  const args = given.args.map(compile);
  const rest = given.rest === undefined ? undefined : compile(given.rest);
  const named = given.keywords.map(({ name, value }) => [name, compile(value)] as const);
  const more = given.restKeywords === undefined ? undefined : compile(given.restKeywords);
  const positional = (activation: Activation) => {
    const values = args.map((arg) => arg(activation));
    return rest === undefined ? values : [...values, ...iterate(rest(activation))];
  };
  const keywords = (activation: Activation) => {
    const values = new Map(named.map(([name, value]) => [name, value(activation)]));
    if (more !== undefined) addKeywords(values, more(activation));
    return values;
  };
  return {
    positional: args.length === 0 && rest === undefined ? () => NO_ARGUMENTS : positional,
    keywords: named.length === 0 && more === undefined ? () => NO_KEYWORDS : keywords,
  };
}

function addKeywords(keywords: Map<string, Value>, mapping: Value): void {
  if (!(mapping instanceof Dict)) raise(`argument after ** must be a mapping, not ${typeName(mapping)}`);
  for (const [name, value] of (mapping as Dict).pairs()) {
    if (typeof name !== 'string') raise('keywords must be strings');
    if (keywords.has(name as string)) raise(`got multiple values for keyword argument '${name}'`);
    keywords.set(name as string, value);
  }
}

/** Compiles a filter whose input is already compiled, such as the body of a filter block. */
export function compileFilter({ name, args: given, line }: Filter, input: Evaluate, scope: Scope): Evaluate {
  const filter = FILTERS.get(name);
  const args = compileArguments(given, scope);
  if (filter === undefined) {
    if (!scope.soft) throw new TemplateError(`No filter named '${name}'.`, line);
    return () => raise(`No filter named '${name}' found.`);
  }
  return (activation) => {
    const value = input(activation);
    return filter(value, args.positional(activation), args.keywords(activation));
  };
}

function compileTest(node: Extract<Expression, { type: 'test' }>, scope: Scope): Evaluate {
  const { name, line } = node;
  const test = TESTS.get(name);
  const input = compileExpression(node.input, scope);
  const args = compileArguments(node.args, scope);
  if (test === undefined) {
    if (!scope.soft) throw new TemplateError(`No test named '${name}'.`, line);
    return () => raise(`No test named '${name}' found.`);
  }
  return (activation) => {
    const value = input(activation);
    return test(value, args.positional(activation), args.keywords(activation));
  };
}
