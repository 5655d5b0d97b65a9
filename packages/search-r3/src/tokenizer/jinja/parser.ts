/** Parses a template into its syntax tree: the statements of Jinja2, loop controls, and `{% generation %}`. */
import { ExpressionParser } from './expressions.js';
import { tokenize } from './lexer.js';
import type { CallBlock, Data, Expression, If, Name, Statement } from './nodes.js';

export function parse(template: string): Statement[] {
  return new Parser(tokenize(template)).template();
}

class Parser extends ExpressionParser {
  /** The tags that are open, for errors. */
  readonly #open: string[] = [];
  readonly #awaited: (readonly string[])[] = [];

  template(): Statement[] {
    return this.#body([]);
  }

  /** Statements up to one of the tags `ends`, or to the end of the template if `ends` is empty. */
  #body(ends: readonly string[]): Statement[] {
    if (ends.length > 0) {
      // Jinja2 allows a colon, as in Python.
      this.skip(':');
      this.expect('block_end');
      this.#awaited.push(ends);
    }
    const body: Statement[] = [];
    let output: (Expression | Data)[] = [];
    const flush = () => {
      const [first] = output;
      if (first !== undefined) body.push({ type: 'output', items: output, line: first.line });
      output = [];
    };
    while (this.current.type !== 'eof') {
      const { type, text, line } = this.next();
      if (type === 'data') {
        output.push({ type: 'data', text, line });
      } else if (type === 'variable_begin') {
        output.push(this.tuple());
        this.expect('variable_end');
      } else {
        flush();
        if (ends.some((end) => this.isName(end))) {
          this.#awaited.pop();
          return body;
        }
        body.push(this.#statement());
        this.expect('block_end');
      }
    }
    flush();
    if (ends.length > 0) this.#failAtTag();
    return body;
  }

  /** Like `#body`, but also consumes the end tag. */
  #closed(end: string): Statement[] {
    const body = this.#body([end]);
    this.next();
    return body;
  }

  #failAtTag(name?: string): never {
    const found = name === undefined ? 'Unexpected end of template.' : `Encountered unknown tag '${name}'.`;
    const awaited = this.#awaited.at(-1)?.map((end) => `'${end}'`);
    const wanted = awaited === undefined ? '' : ` Jinja was looking for: ${awaited.join(' or ')}.`;
    const open = this.#open.at(-1);
    const inner = open === undefined ? '' : ` The innermost block that needs to be closed is '${open}'.`;
    return this.fail(found + wanted + inner);
  }

  #statement(): Statement {
    const { type, text: tag, line } = this.current;
    if (type !== 'name') this.fail('tag name expected', line);
    this.#open.push(tag);
    const statement = this.#tagged(tag, line);
    this.#open.pop();
    return statement;
  }

  #tagged(tag: string, line: number): Statement {
    switch (tag) {
      case 'for':
        return this.#for();
      case 'if':
        return this.#if();
      case 'set':
        return this.#set();
      case 'macro': {
        this.next();
        const name = this.#nameTarget().name;
        return { type: 'macro', name, ...this.#signature(), body: this.#closed('endmacro'), line };
      }
      case 'call':
        return this.#callBlock();
      case 'generation':
        this.next();
        return {
          type: 'call_block',
          call: undefined,
          parameters: [],
          defaults: [],
          body: this.#closed('endgeneration'),
          line,
        };
      case 'filter': {
        this.next();
        const filter = this.filters(undefined, true) ?? this.fail('expected a filter');
        return { type: 'filter_block', filter, body: this.#closed('endfilter'), line };
      }
      case 'with':
        return this.#with();
      case 'block':
        return this.#block();
      case 'break':
      case 'continue':
        this.next();
        return { type: tag, line };
      case 'print':
        return this.#print();
      case 'autoescape':
        return this.#autoescape();
      case 'extends':
      case 'include':
      case 'import':
      case 'from':
        return this.#otherTemplate(tag);
      default:
        this.#open.pop();
        return this.#failAtTag(tag);
    }
  }

  #nameTarget(): Name {
    const { text, line } = this.expect('name');
    if (/^(?:true|false|none)$/.test(text.charAt(0).toLowerCase() + text.slice(1))) {
      this.fail("can't assign to 'const'", line);
    }
    return { type: 'name', name: text, context: 'store', line };
  }

  #for(): Statement {
    const { line } = this.next();
    const target = this.target();
    this.expectName('in');
    const iterable = this.tuple({ conditions: false });
    const test = this.skipName('if') ? this.expression() : undefined;
    const recursive = this.skipName('recursive');
    const body = this.#body(['endfor', 'else']);
    const otherwise = this.next().text === 'endfor' ? [] : this.#closed('endfor');
    return { type: 'for', target, iterable, body, otherwise, test, recursive, line };
  }

  #if(): Statement {
    const { line } = this.next();
    const result: If = { ...this.#branch(line) };
    while (true) {
      const end = this.next();
      if (end.text === 'elif') {
        result.elifs.push(this.#branch(this.current.line));
        continue;
      }
      if (end.text === 'else') result.otherwise = this.#closed('endif');
      return result;
    }
  }

  #branch(line: number): If {
    const test = this.tuple({ conditions: false });
    return { type: 'if', test, body: this.#body(['elif', 'else', 'endif']), elifs: [], otherwise: [], line };
  }

  #set(): Statement {
    const { line } = this.next();
    const target = this.target({ namespace: true });
    if (this.skip('=')) return { type: 'set', target, value: this.tuple(), line };
    const filter = this.filters(undefined);
    return { type: 'set_block', target, filter, body: this.#closed('endset'), line };
  }

  #signature(): Pick<CallBlock, 'parameters' | 'defaults'> {
    const parameters: Name[] = [];
    const defaults: Expression[] = [];
    this.expect('(');
    while (this.current.type !== ')') {
      if (parameters.length > 0) this.expect(',');
      const parameter: Name = { ...this.#nameTarget(), context: 'param' };
      if (parameters.some(({ name }) => name === parameter.name)) {
        this.fail(`duplicate argument '${parameter.name}'`);
      }
      if (this.skip('=')) defaults.push(this.expression());
      else if (defaults.length > 0) this.fail('non-default argument follows default argument');
      parameters.push(parameter);
    }
    this.next();
    return { parameters, defaults };
  }

  #callBlock(): Statement {
    const { line } = this.next();
    const signature = this.current.type === '(' ? this.#signature() : { parameters: [], defaults: [] };
    const call = this.expression();
    if (call.type !== 'call') return this.fail('expected call', line);
    return { type: 'call_block', call, ...signature, body: this.#closed('endcall'), line };
  }

  #with(): Statement {
    const { line } = this.next();
    const targets: ReturnType<typeof this.target>[] = [];
    const values: Expression[] = [];
    while (this.current.type !== 'block_end') {
      if (targets.length > 0) this.expect(',');
      targets.push(asParameter(this.target()));
      this.expect('=');
      values.push(this.expression());
    }
    return { type: 'with', targets, values, body: this.#closed('endwith'), line };
  }

  #block(): Statement {
    const { line } = this.next();
    const name = this.expect('name').text;
    const scoped = this.skipName('scoped');
    const required = this.skipName('required');
    if (this.current.type === '-')
      this.fail('Block names may not contain hyphens, use an underscore instead');
    const body = this.#closed('endblock');
    const blank = (item: Expression | Data) => item.type === 'data' && item.text.trim() === '';
    if (required && !body.every((one) => one.type === 'output' && one.items.every(blank))) {
      this.fail('Required blocks can only contain comments or whitespace');
    }
    this.skipName(name);
    return { type: 'block', name, scoped, required, body, line };
  }

  #print(): Statement {
    const { line } = this.next();
    const items: Expression[] = [];
    while (this.current.type !== 'block_end') {
      if (items.length > 0) this.expect(',');
      items.push(this.expression());
    }
    return { type: 'output', items, line };
  }

  #autoescape(): Statement {
    const { line } = this.next();
    const option = this.expression();
    if (option.type !== 'constant' || option.value !== false) {
      this.fail('autoescape is not supported', line);
    }
    return { type: 'scope', body: this.#closed('endautoescape'), line };
  }

  /** There are no other templates, but these tags still define names. */
  #otherTemplate(tag: string): Statement {
    const { line } = this.next();
    const template = this.expression();
    const names: Name[] = [];
    if (tag === 'import') {
      this.expectName('as');
      names.push(this.#nameTarget());
    } else if (tag === 'from') {
      this.expectName('import');
      while (this.current.type === 'name' && !this.#isContext()) {
        const name = this.#nameTarget();
        names.push(this.skipName('as') ? this.#nameTarget() : name);
        if (!this.skip(',')) break;
      }
    } else if (tag === 'include' && this.skipName('ignore')) {
      this.expectName('missing');
    }
    if (tag !== 'extends' && this.#isContext()) {
      this.next();
      this.next();
    }
    return { type: 'other_template', tag, template, names, line };
  }

  #isContext(): boolean {
    const after = this.peek();
    return (
      (this.isName('with') || this.isName('without')) && after.type === 'name' && after.text === 'context'
    );
  }
}

function asParameter<T extends ReturnType<Parser['target']>>(target: T): T {
  switch (target.type) {
    case 'name':
      return { ...target, context: 'param' };
    case 'targets':
      return { ...target, items: target.items.map(asParameter) };
    default:
      return target;
  }
}
