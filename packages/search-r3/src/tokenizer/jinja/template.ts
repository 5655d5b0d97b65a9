/** A Jinja2 template, rendered as in transformers' environment: parsed and compiled once, rendered often. */
import { compileBody } from './compile-statements.js';
import { Dict } from './containers.js';
import { atLine, TemplateError } from './errors.js';
import { GLOBALS } from './globals.js';
import type { Statement } from './nodes.js';
import { parse } from './parser.js';
import { activate, Context, entrance, FunctionScope, type Scope, writer } from './scope.js';
import { findBlocks, Symbols, undeclared } from './symbols.js';
import { PyFunction, PyObject, Undefined, type Value } from './values.js';

export class Template {
  readonly #render: (context: Context) => string;
  readonly #blocks = new Map<string, (context: Context) => string>();

  /** @throws TemplateError with the line that does not parse or uses something unsupported. */
  constructor(text: string) {
    this.#render = atLine(1, () => {
      const body = parse(text);
      const blocks = findBlocks(body);
      for (const [name, block] of blocks) this.#blocks.set(name, compileFunction(block.body, name));
      return compileFunction(body, undefined);
    });
  }

  /** @throws TemplateError with the line of the statement that failed. */
  render(variables: ReadonlyMap<string, Value>): string {
    return this.#render(new Context(new Map([...GLOBALS, ...variables]), this.#blocks));
  }
}

/** The template itself, or one of its blocks. */
function compileFunction(
  body: readonly Statement[],
  block: string | undefined,
): (context: Context) => string {
  const symbols = new Symbols();
  const owner = new FunctionScope(0);
  const scope: Scope = {
    symbols,
    function: owner,
    topLevel: block === undefined,
    soft: false,
    inLoop: false,
  };
  const given: ((context: Context) => Value)[] = [];
  const names: string[] = [];
  const special = undeclared(body, block === undefined ? ['self'] : ['self', 'super']);
  if (special.has('self')) {
    names.push('self');
    given.push((context) => new TemplateReference(context));
  }
  if (special.has('super')) {
    names.push('super');
    given.push(() => new Undefined(`there is no parent block called '${block}'.`));
  }
  for (const name of names) symbols.declareParameter(name);
  symbols.visit(body);
  const writes = names.map((name) => writer(symbols.reference(name), owner));
  const enter = entrance(scope);
  const execute = compileBody(body, scope);
  return (context) => {
    const activation = activate(context);
    for (const [i, write] of writes.entries()) write(activation, given[i]?.(context));
    enter(activation);
    execute(activation);
    return activation.output;
  };
}

/** `self`: the blocks of the template, as callable values. */
class TemplateReference extends PyObject {
  readonly typeName = 'TemplateReference';
  constructor(private readonly context: Context) {
    super();
  }

  override item(name: Value): Value | undefined {
    const block = typeof name === 'string' ? this.context.blocks.get(name) : undefined;
    return block && new PyFunction('block', () => block(this.context), 'BlockReference');
  }

  override repr(): string {
    return '<TemplateReference None>';
  }
}

/** A JSON value as Python reads it; whole numbers are ints. */
export function fromJson(value: unknown): Value {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'bigint':
      return value;
    case 'number':
      return Number.isInteger(value) && !Object.is(value, -0) ? BigInt(value) : value;
    case 'object':
      if (value === null) return null;
      if (Array.isArray(value)) return value.map(fromJson);
      return Dict.ofStrings(Object.entries(value).map(([key, item]) => [key, fromJson(item)] as const));
    default:
      throw new TemplateError(`a template cannot use a ${typeof value}`);
  }
}
