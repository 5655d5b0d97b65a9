/** Turns statements into functions that write to the output. */
import { compileExpression, compileFilter, type Evaluate } from './compile-expressions.js';
import { compileFor, scoped } from './compile-loops.js';
import { compileCallBlock, compileMacro } from './compile-macros.js';
import { compileTarget, namespaceReader, namespaceTargets, targetNames } from './compile-targets.js';
import { raise, TemplateError, withLine } from './errors.js';
import { written } from './markup.js';
import type { Block, Data, Expression, Filter, If, Statement, Target } from './nodes.js';
import { str } from './repr.js';
import { type Activation, type Execute, entrance, exit, reader, type Scope, writer } from './scope.js';
import { Symbols } from './symbols.js';
import { truthy, type Value } from './values.js';

export function compileBody(body: readonly Statement[], scope: Scope): Execute {
  const steps = body.map((statement) => withLines(statement, scope));
  const [only] = steps;
  if (steps.length === 1 && only !== undefined) return only;
  return (activation) => {
    for (const step of steps) {
      const signal = step(activation);
      if (signal !== undefined) return signal;
    }
    return undefined;
  };
}

/** Errors name the line of the statement, both when it is compiled and when it runs. */
function withLines(statement: Statement, scope: Scope): Execute {
  try {
    const step = compileStatement(statement, scope);
    return (activation) => {
      try {
        return step(activation);
      } catch (error) {
        throw withLine(error, statement.line);
      }
    };
  } catch (error) {
    throw withLine(error, statement.line);
  }
}

function compileStatement(node: Statement, scope: Scope): Execute {
  switch (node.type) {
    case 'output':
      return compileOutput(node.items, scope);
    case 'if':
      return compileIf(node, { ...scope, soft: true });
    case 'for':
      return compileFor(node, scope, compileBody);
    case 'set':
      return compileSet(node.target, node.value, scope);
    case 'set_block':
      return compileSetBlock(node, scope);
    case 'macro': {
      const make = compileMacro(node, scope, compileBody);
      const write = writer(scope.symbols.reference(node.name), scope.function);
      return (activation) => {
        const macro = make(activation);
        write(activation, macro);
        if (scope.topLevel) activation.context.set(node.name, macro);
        return undefined;
      };
    }
    case 'call_block':
      return compileCallBlock(node, scope, compileBody);
    case 'filter_block':
      return compileFilterBlock(node.filter, node.body, scope);
    case 'with':
      return compileWith(node, scope);
    case 'scope': {
      const inner = innerScope(scope, node.body);
      return scoped(inner, compileBody(node.body, inner));
    }
    case 'block':
      return compileBlockCall(node, scope);
    case 'break':
    case 'continue': {
      const signal = node.type;
      if (!scope.inLoop) throw new TemplateError(`'${signal}' outside loop`, node.line);
      return () => signal;
    }
    case 'other_template': {
      if (node.tag === 'extends' && !scope.topLevel) {
        throw new TemplateError('cannot use extend from a non top-level scope', node.line);
      }
      const template = compileExpression(node.template, scope);
      return (activation) => {
        template(activation);
        return raise(`there are no other templates for "${node.tag}" to load`);
      };
    }
    default:
      return node satisfies never;
  }
}

/** A nested scope, which is no longer the top level of the template. */
function innerScope(scope: Scope, nodes: readonly (Statement | Expression | Target)[]): Scope {
  const symbols = new Symbols(scope.symbols);
  symbols.visit(nodes);
  return { symbols, function: scope.function, topLevel: false, soft: false, inLoop: scope.inLoop };
}

function compileOutput(items: readonly (Expression | Data)[], scope: Scope): Execute {
  const writes = items.map((item) => {
    if (item.type === 'data') {
      const { text } = item;
      return (activation: Activation) => {
        activation.output += text;
      };
    }
    const value = compileExpression(item, scope);
    return (activation: Activation) => {
      try {
        const text = str(value(activation));
        activation.output += text;
      } catch (error) {
        throw withLine(error, item.line);
      }
    };
  });
  return (activation) => {
    for (const write of writes) write(activation);
    return undefined;
  };
}

function compileIf(node: If, scope: Scope): Execute {
  const branches = [node, ...node.elifs].map(({ test, body }) => ({
    test: compileExpression(test, scope),
    body: compileBody(body, scope),
  }));
  const otherwise = compileBody(node.otherwise, scope);
  return (activation) => {
    for (const { test, body } of branches) if (truthy(test(activation))) return body(activation);
    return otherwise(activation);
  };
}

function compileSet(target: Target, valueNode: Expression, scope: Scope): Execute {
  const checks = namespaceTargets(target).map((one) => namespaceReader(one, scope));
  const value = compileExpression(valueNode, scope);
  const assign = compileAssignment(target, scope);
  return (activation) => {
    for (const check of checks) check(activation);
    assign(activation, value(activation));
    return undefined;
  };
}

/** Assigns, and makes variables assigned on the top level visible to blocks. */
function compileAssignment(target: Target, scope: Scope): (activation: Activation, value: Value) => void {
  const assign = compileTarget(target, scope);
  if (!scope.topLevel) return assign;
  const names = targetNames(target).map((name) => ({
    name,
    read: reader(scope.symbols.reference(name), scope.function),
  }));
  return (activation, value) => {
    assign(activation, value);
    for (const { name, read } of names) activation.context.set(name, read(activation));
  };
}

function compileSetBlock(node: Extract<Statement, { type: 'set_block' }>, scope: Scope): Execute {
  const inner = innerScope(scope, node.body);
  const capture = compileCapture(node.body, inner);
  const value = compileCaptured(node.filter, inner);
  const assign = compileAssignment(node.target, scope);
  return capture((activation) => assign(activation, value(activation)));
}

function compileFilterBlock(filter: Filter, body: readonly Statement[], scope: Scope): Execute {
  const inner = innerScope(scope, [...body, filter]);
  const capture = compileCapture(body, inner);
  const value = compileCaptured(filter, inner);
  return capture((activation) => {
    const text = written(value(activation));
    activation.output += text;
  });
}

/** Renders a body into `captured` and then runs `use`, unless the body left its loop. */
function compileCapture(nodes: readonly Statement[], scope: Scope) {
  const [enter, body, leave] = [entrance(scope), compileBody(nodes, scope), exit(scope)];
  return (use: (activation: Activation) => void): Execute =>
    (activation) => {
      enter(activation);
      const before = activation.output;
      activation.output = '';
      const signal = body(activation);
      activation.captured = activation.output;
      activation.output = before;
      if (signal !== undefined) return signal;
      use(activation);
      leave(activation);
      return undefined;
    };
}

/** The captured text after the filters of its block. */
function compileCaptured(filter: Filter | undefined, scope: Scope): Evaluate {
  if (filter === undefined) return ({ captured }) => captured;
  const { input } = filter;
  const inner = input?.type === 'filter' ? compileCaptured(input, scope) : compileCaptured(undefined, scope);
  return compileFilter(filter, inner, scope);
}

function compileWith(node: Extract<Statement, { type: 'with' }>, scope: Scope): Execute {
  const inner = innerScope(scope, [...node.targets, ...node.body]);
  const [enter, leave] = [entrance(inner), exit(inner)];
  const values = node.values.map((value) => compileExpression(value, scope));
  const assigns = node.targets.map((target) => compileTarget(target, inner));
  const body = compileBody(node.body, inner);
  return (activation) => {
    enter(activation);
    for (const [i, value] of values.entries()) assigns[i]?.(activation, value(activation));
    const signal = body(activation);
    leave(activation);
    return signal;
  };
}

function compileBlockCall({ name, scoped: isScoped, required }: Block, scope: Scope): Execute {
  if (required) return () => raise(`Required block '${name}' not found`);
  const locals = [...scope.symbols.allStores()].map(([local, variable]) => ({
    local,
    read: reader(variable, scope.function),
  }));
  return (activation) => {
    let { context } = activation;
    if (isScoped) {
      const values = locals.map(({ local, read }) => [local, read(activation)] as const);
      context = context.derived(values.filter((pair): pair is [string, Value] => pair[1] !== undefined));
    }
    const text = context.blocks.get(name)?.(context) ?? '';
    activation.output += text;
    return undefined;
  };
}
