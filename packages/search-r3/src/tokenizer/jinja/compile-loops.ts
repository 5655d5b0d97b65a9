/** Loops: `for` with its filter, its `else`, recursion, and the variable `loop`. */
import { compileExpression, type Evaluate } from './compile-expressions.js';
import { type Assign, compileTarget, targetNames } from './compile-targets.js';
import { iterate, Tuple } from './containers.js';
import { TemplateError } from './errors.js';
import { recurse } from './macro.js';
import { descendants, type For, type Target } from './nodes.js';
import { Loop } from './objects.js';
import {
  type Activation,
  activate,
  type CompileBody,
  type Execute,
  entrance,
  exit,
  FunctionScope,
  nameReader,
  type Scope,
  writer,
} from './scope.js';
import { Symbols, undeclared } from './symbols.js';
import { PyIterator, truthy, type Value } from './values.js';

export function compileFor(node: For, scope: Scope, compileBody: CompileBody): Execute {
  refuseAssignedLoop(node);
  const symbols = new Symbols(scope.symbols);
  const hasLoop =
    node.recursive ||
    undeclared(node.body, ['loop']).has('loop') ||
    [...descendants(node)].some((child) => child.type === 'block' && child.scoped);
  if (hasLoop) symbols.declareParameter('loop');
  declare(node.target, symbols);
  symbols.visit(node.body);
  const elseSymbols = new Symbols(scope.symbols);
  elseSymbols.visit(node.otherwise);

  const owner = node.recursive ? new FunctionScope(symbols.level, scope.function) : scope.function;
  const bodyScope: Scope = { symbols, function: owner, topLevel: false, soft: false, inLoop: true };
  const elseScope: Scope = {
    symbols: elseSymbols,
    function: owner,
    topLevel: false,
    soft: false,
    inLoop: scope.inLoop && !node.recursive,
  };
  const iterable = compileExpression(node.iterable, scope);
  const select = compileSelection(node, symbols, scope);
  const parts: LoopParts = {
    assign: compileTarget(node.target, bodyScope),
    setLoop: hasLoop ? writer(symbols.reference('loop'), owner) : undefined,
    enter: entrance(bodyScope),
    body: compileBody(node.body, bodyScope),
    leave: exit(bodyScope),
    otherwise:
      node.otherwise.length === 0 ? undefined : scoped(elseScope, compileBody(node.otherwise, elseScope)),
  };
  if (node.recursive) return recursive(iterable, select, parts);
  return (activation) => runLoop(parts, activation, select(activation, iterable(activation)), undefined, 0);
}

/** The items of a loop: all, or those that pass its test. */
type Select = (activation: Activation, items: Value) => Value;

interface LoopParts {
  assign: Assign;
  setLoop: ((activation: Activation, value: Value | undefined) => void) | undefined;
  enter: (activation: Activation) => void;
  body: Execute;
  leave: (activation: Activation) => void;
  otherwise: Execute | undefined;
}

type Recursion = ((items: Value, depth: number) => string) | undefined;

function runLoop(
  parts: LoopParts,
  activation: Activation,
  items: Value,
  recursion: Recursion,
  depth: number,
) {
  const { assign, setLoop, enter, body, leave, otherwise } = parts;
  const loop = setLoop === undefined ? undefined : new Loop(items, iterate(items), recursion, depth);
  // Only iterations that reach their end count: if every iteration ends with `continue`, `else` is rendered.
  let completed = false;
  for (const item of loop === undefined ? iterate(items) : turns(loop)) {
    assign(activation, item);
    if (loop !== undefined) setLoop?.(activation, loop);
    enter(activation);
    const signal = body(activation);
    if (signal === 'break') break;
    if (signal === undefined) completed = true;
  }
  leave(activation);
  return completed ? undefined : otherwise?.(activation);
}

function* turns(loop: Loop): Iterable<Value> {
  for (let item = loop.advance(); item !== undefined; item = loop.advance()) yield item;
}

/** A loop that can call itself is a function that returns its text. */
function recursive(iterable: Evaluate, select: Select, parts: LoopParts): Execute {
  return (outer) => {
    const render = (items: Value, depth: number): string =>
      recurse(() => {
        const inner = activate(outer.context, outer);
        runLoop(parts, inner, select(outer, items), render, depth);
        return inner.output;
      });
    const text = render(iterable(outer), 0);
    outer.output += text;
    return undefined;
  };
}

/** `for ... if test`: a generator in a function of its own. */
function compileSelection(node: For, loopSymbols: Symbols, scope: Scope): Select {
  if (node.test === undefined) return (_, items) => items;
  const symbols = new Symbols(scope.symbols);
  declare(node.target, symbols);
  symbols.visit([node.test]);
  const owner = new FunctionScope(symbols.level, scope.function);
  const common = { function: owner, topLevel: false, soft: false, inLoop: false };
  const testScope: Scope = { symbols, ...common };
  const targetScope: Scope = { symbols: loopSymbols, ...common };
  const enter = entrance(testScope);
  const test = compileExpression(node.test, testScope);
  const assign = compileTarget(node.target, targetScope);
  const read = compileTargetValue(node.target, targetScope);
  function* selected(outer: Activation, items: Iterable<Value>): Iterable<Value> {
    const inner = activate(outer.context, outer);
    enter(inner);
    for (const item of items) {
      assign(inner, item);
      if (truthy(test(inner))) yield read(inner);
    }
  }
  return (outer, items) => new PyIterator(selected(outer, iterate(items)));
}

/** A target as a value. Jinja2 passes on what it has assigned, so a list becomes a tuple. */
function compileTargetValue(target: Target, scope: Scope): Evaluate {
  if (target.type === 'name') return nameReader(target.name, scope);
  if (target.type === 'namespace') throw new TemplateError("can't loop over a namespace", target.line);
  const items = target.items.map((item) => compileTargetValue(item, scope));
  return (activation) => new Tuple(items.map((item) => item(activation)));
}

function declare(target: Target, symbols: Symbols): void {
  for (const name of targetNames(target)) symbols.declareParameter(name);
}

function refuseAssignedLoop(node: For): void {
  for (const child of descendants(node)) {
    if (child.type === 'name' && child.context === 'store' && child.name === 'loop') {
      throw new TemplateError("Can't assign to special loop variable in for-loop target", child.line);
    }
  }
}

/** A body in a scope of its own. */
export function scoped(scope: Scope, body: Execute): Execute {
  const [enter, leave] = [entrance(scope), exit(scope)];
  return (activation) => {
    enter(activation);
    const signal = body(activation);
    leave(activation);
    return signal;
  };
}
