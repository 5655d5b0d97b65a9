/** Macros and call blocks. */
import { call } from './arguments.js';
import { compileArguments, compileExpression, type Evaluate } from './compile-expressions.js';
import { TemplateError } from './errors.js';
import { Macro } from './macro.js';
import { written } from './markup.js';
import type { CallBlock, Macro as MacroNode } from './nodes.js';
import {
  type Activation,
  activate,
  type CompileBody,
  type Execute,
  entrance,
  FunctionScope,
  type Scope,
  type Write,
  writer,
} from './scope.js';
import { Symbols, undeclared } from './symbols.js';
import { Undefined } from './values.js';

/** Creates the macro of a node each time the node is reached. */
export function compileMacro(
  node: MacroNode | CallBlock,
  scope: Scope,
  compileBody: CompileBody,
): (activation: Activation) => Macro {
  const symbols = new Symbols(scope.symbols);
  symbols.visit([...node.parameters, ...node.defaults, ...node.body]);
  const special = specialParameters(node);
  for (const name of special.added) symbols.declareParameter(name);
  const owner = new FunctionScope(symbols.level, scope.function);
  const bodyScope: Scope = { symbols, function: owner, topLevel: false, soft: false, inLoop: false };
  const names = node.parameters.map(({ name }) => name);
  const writes = [...names, ...special.added].map((name) => writer(symbols.reference(name), owner));
  const enter = entrance(bodyScope);
  const defaults = names.map((name, i) => compileDefault(node, name, i, bodyScope));
  const body = compileBody(node.body, bodyScope);
  const name = node.type === 'macro' ? node.name : undefined;
  return (outer) =>
    new Macro(name, names, special.accepts, (args) => {
      const inner = activate(outer.context, outer);
      for (const [i, write] of writes.entries()) write(inner, args[i]);
      enter(inner);
      for (const [i, otherwise] of defaults.entries()) {
        if (args[i] === undefined) (writes[i] as Write)(inner, otherwise(inner));
      }
      body(inner);
      return inner.output;
    });
}

/** Parameters that a macro has if its body reads them: caller, kwargs and varargs. */
function specialParameters({ parameters, defaults, body, line }: MacroNode | CallBlock) {
  const read = undeclared(body, ['caller', 'kwargs', 'varargs']);
  const explicit = (name: string) => parameters.findIndex((parameter) => parameter.name === name);
  const caller = explicit('caller');
  if (read.has('caller') && caller !== -1 && parameters.length - caller > defaults.length) {
    const message = 'the special "caller" argument must be omitted or be given a default.';
    throw new TemplateError(`When defining macros or call blocks ${message}`, line);
  }
  const has = (name: string) => read.has(name) && explicit(name) === -1;
  return {
    added: ['caller', 'kwargs', 'varargs'].filter(has),
    accepts: { caller: read.has('caller'), keywords: has('kwargs'), rest: has('varargs') },
  };
}

function compileDefault(node: MacroNode | CallBlock, name: string, index: number, scope: Scope): Evaluate {
  const given = node.defaults[index - node.parameters.length + node.defaults.length];
  if (given !== undefined) return compileExpression(given, scope);
  return () => new Undefined(`parameter '${name}' was not provided`);
}

/** `{% call %}` passes its body as `caller`; `{% generation %}` writes it. */
export function compileCallBlock(node: CallBlock, scope: Scope, compileBody: CompileBody): Execute {
  const make = compileMacro(node, scope, compileBody);
  if (node.call === undefined) {
    return (activation) => {
      const text = written(call(make(activation), [], new Map()));
      activation.output += text;
      return undefined;
    };
  }
  if (node.call.args.keywords.some(({ name }) => name === 'caller')) {
    throw new TemplateError('keyword argument repeated: caller', node.line);
  }
  const callee = compileExpression(node.call.callee, scope);
  const args = compileArguments(node.call.args, scope);
  return (activation) => {
    const caller = make(activation);
    const keywords = new Map([...args.keywords(activation), ['caller', caller] as const]);
    const text = written(call(callee(activation), args.positional(activation), keywords));
    activation.output += text;
    return undefined;
  };
}
